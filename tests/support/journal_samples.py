"""Headers, entries and generations of a journal, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import Submission
from airflow_provider_flux.generation import Generation, new_generation
from airflow_provider_flux.landing.provenance import TaskIdentity, summarize_request
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.journal_entries import (
    JournalEntry,
    SegmentHeader,
    encode_line,
    intent_entry,
)
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit, fold_entries
from airflow_provider_flux.object_store.backends import WriteOptions

WRITE_OPTIONS = WriteOptions("application/json")
REQUEST = build_request("flux-2-pro", {"prompt": "a fox", "width": 256, "height": 256})
#: A generation that BFL accepted.
ACCEPTED = new_generation(
    REQUEST, Submission("r1", "https://api.bfl.ai/v1/get_result?id=r1", 1.0, 3.0)
)
#: The same, after its image has landed.
LANDED: Generation = {
    **ACCEPTED,
    "image": {
        "uri": "/x/0.jpeg",
        "sha256": "ab",
        "bytes": 1,
        "width": 1,
        "height": 1,
        "content_type": "image/jpeg",
        "sidecar": None,
    },
}


def segment_header(
    opened_at: str = "2026-11-27T00:00:00+00:00", session: str = "s1", **fields: Any
) -> SegmentHeader:
    """Return a header, with other fields on request."""
    defaults = {
        "owner": TaskIdentity(dag_id="ads", run_id="r", task_id="hero", try_number=1),
        "clear_id": "3/x",
        "flux_conn_id": "flux_default",
        "target": Target(path="/x/{key}.{ext}", host="h"),
    }
    return SegmentHeader(session=session, opened_at=opened_at, **{**defaults, **fields})


def new_intent(key: str = "0", index: int = 0) -> dict[str, Any]:
    """Return the first entry of a new submit."""
    return intent_entry(
        REQUEST, index=index, key=key, row_fingerprint="w", summary=summarize_request(REQUEST)
    )


def parse_entry(entry: dict[str, Any]) -> JournalEntry:
    """Return an entry as it is read from a segment."""
    return JournalEntry.model_validate_json(encode_line(entry))


def encode_segment(*entries: dict[str, Any]) -> bytes:
    """Return a segment with entries."""
    header = encode_line(segment_header().model_dump(mode="json"))
    return b"".join([header, *map(encode_line, entries)])


def only_submit(
    segments: Iterable[tuple[SegmentHeader, list[JournalEntry]]],
) -> JournaledSubmit:
    """Return the one submit of segments."""
    (submit,) = fold_entries(segments)
    return submit
