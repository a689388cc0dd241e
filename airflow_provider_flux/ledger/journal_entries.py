"""The lines of a journal: the header of each segment, and one entry for each phase of a submit."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.bfl.responses import drop_bad_number
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import Phase, StoredGeneration, describe_invalid, utc_now


class SessionSummary(BaseModel):
    """A session of a journal, as a later one names it.

    :param session: its random id.
    :param clear_id: id of the clear that it belongs to.
    :param segments: number of its segments at that time.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    session: str
    clear_id: str = ""
    segments: int = 1


class SegmentHeader(BaseModel):
    """The first line of each segment: the facts that all submits of one try share.

    :param schema_version: 1.
    :param session: a random id of the writer: a try, or a run of ``airflow flux recover``.
    :param opened_at: time at which the writer began, in ISO 8601.
    :param owner: the task instance, and the try that submits.
    :param clear_id: id of the clear that the try belongs to. A clear by a user changes it, a retry
        by Airflow does not.
    :param flux_conn_id: id of the connection to BFL.
    :param target: where the images are to land. Each entry has the key and index of its row.
    :param is_closed: whether the writer ended and wrote all its entries.
    :param entries: number of entries in the segment; ``None`` if the writer did not count them.
    :param has_next: whether the writer has written a further segment.
    :param earlier: the sessions of the journal when this one began.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    session: str = Field(default_factory=lambda: uuid.uuid4().hex)
    opened_at: str = Field(default_factory=utc_now)
    owner: TaskIdentity
    clear_id: str
    flux_conn_id: str
    target: Target
    is_closed: bool = False
    entries: int | None = None
    has_next: bool = False
    earlier: tuple[SessionSummary, ...] = ()


class IntentFacts(BaseModel):
    """The request of a submit, in its first entry.

    :param index: index of the row, from 0.
    :param model: name of the model.
    :param row_fingerprint: fingerprint of the row in the input. It names its inputs by their URIs.
    :param fingerprint: fingerprint of the request. It counts the bytes of its inputs.
    :param estimated_cost: estimated price in credits (1 credit = 0.01 USD); ``None`` if it is not
        known.
    :param request: summary of the request, for the sidecar.
    :param path: ``output_path`` with the columns of the row filled in; ``None`` if it is that of
        the batch.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    index: int
    model: str
    row_fingerprint: str
    fingerprint: str
    estimated_cost: Annotated[float | None, BeforeValidator(drop_bad_number)] = None
    request: RequestSummary
    path: str | None = None


class JournalEntry(BaseModel):
    """One phase of one submit, as a line of a segment.

    :param claim: a random id of the submit. A row that is submitted again gets a new one.
    :param key: key of the row.
    :param phase: the phase.
    :param at: time of the entry, in ISO 8601.
    :param facts: the request, in the entry of phase ``intent``.
    :param generation: the accepted request, once BFL has answered.
    :param error: the reason for phase ``failed``, as :meth:`FluxError.as_dict` returns it.
    :param signature: signature of the image, by which a later try finds duplicates.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    claim: str
    key: str
    phase: Phase
    at: str
    facts: IntentFacts | None = None
    generation: StoredGeneration | None = None
    error: dict[str, Any] | None = None
    signature: str | None = None


def intent_entry(
    request: GenerationRequest,
    *,
    index: int,
    key: str,
    row_fingerprint: str,
    summary: RequestSummary,
    path: str | None = None,
) -> dict[str, Any]:
    """Return the entry for a request that is about to be submitted.

    :param request: the request.
    :param index: index of the row, from 0.
    :param key: key of the row.
    :param row_fingerprint: fingerprint of the row in the input.
    :param summary: summary of the request, for the sidecar.
    :param path: ``output_path`` with the columns of the row filled in; ``None`` (default) if it is
        that of the batch.
    :return: the entry. Later entries of the submit repeat its ``claim``.
    """
    facts: dict[str, Any] = {
        "index": index,
        "model": request.model,
        "row_fingerprint": row_fingerprint,
        "fingerprint": request.fingerprint,
        "estimated_cost": estimate_cost(request).credits,
        "request": summary.model_dump(mode="json"),
    }
    if path is not None:
        facts["path"] = path
    return {
        "claim": uuid.uuid4().hex,
        "key": key,
        "phase": "intent",
        "at": utc_now(),
        "facts": facts,
    }


def phase_entry(
    claim: str,
    key: str,
    phase: Phase,
    *,
    generation: Generation | None = None,
    error: FluxError | None = None,
    signature: str | None = None,
) -> dict[str, Any]:
    """Return the entry for a later phase of a submit.

    :param claim: ``claim`` of its first entry.
    :param key: key of the row.
    :param phase: the new phase.
    :param generation: the accepted request, if it is new or has changed.
    :param error: the reason for phase ``failed``.
    :param signature: signature of the image, if there is one.
    """
    entry: dict[str, Any] = {"claim": claim, "key": key, "phase": phase, "at": utc_now()}
    if generation is not None:
        entry["generation"] = generation
    if error is not None:
        entry["error"] = error.as_dict()
    if signature is not None:
        entry["signature"] = signature
    return entry


def encode_line(line: dict[str, Any]) -> bytes:
    """Return a header or an entry as a line of a segment.

    :param line: the header or entry, as JSON values.
    """
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    # An answer of BFL may hold a lone surrogate, which UTF-8 cannot encode.
    return text.encode(errors="replace") + b"\n"


def parse_segment(data: bytes, location: str) -> tuple[SegmentHeader, list[JournalEntry]]:
    """Return the header and the entries of a segment.

    :param data: the bytes of the segment.
    :param location: its URI, for the error.
    :raises FluxLedgerError: if a line cannot be read. An unreadable line never counts as no line.
    """
    lines = data.splitlines()
    entries: list[JournalEntry] = []
    try:
        header = SegmentHeader.model_validate_json(lines[0] if lines else b"")
        for line in lines[1:]:
            entries.append(JournalEntry.model_validate_json(line))
    except ValidationError as error:
        raise FluxLedgerError(
            f"The journal {location} cannot be read (after {len(entries)} entries, "
            f"{describe_invalid(error)}). It may name images that BFL bills, so nothing is "
            "submitted. Inspect it. Remove its folder only if you accept a possible second charge."
        ) from None
    return header, entries
