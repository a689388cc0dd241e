"""The record of a review: candidates, rounds and decision, so that a killed try loses none of them.

It is a file in the folder of the ledger. Whoever may write to the bucket may change it, so what it
names counts only below the folders of the review.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record_files import record_write_options, stem_of
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put, read
from airflow_provider_flux.review.answer import Decision
from airflow_provider_flux.review.candidates import Candidate

_MAX_RECORD_BYTES = 4 * 1024 * 1024

#: ``open``: a person is asked. ``decided``: their answer is being carried out. ``done``: it was.
ReviewPhase = Literal["open", "decided", "done"]


class ReviewRecord(BaseModel):
    """The state of a review.

    :param schema_version: version of this schema.
    :param clear_id: id that a clear of the task changes and a retry does not.
    :param source: hash over the images of the first candidates. Other images are another review.
    :param phase: ``open``, ``decided`` or ``done``.
    :param round: how many times other candidates were asked for.
    :param candidates: all candidates, in the order of their numbers.
    :param decision: the last decision; ``None`` before the first.
    :param feedback: decisions to ask again, which were carried out.
    :param note: why the last answer could not be carried out, for the reviewers.
    :param credits: credits that asking again has cost, as far as known.
    """

    model_config = ConfigDict(extra="ignore", defer_build=True)

    schema_version: Literal[1] = 1
    clear_id: str
    source: str
    phase: ReviewPhase = "open"
    round: int = 0
    candidates: list[Candidate]
    decision: Decision | None = None
    feedback: list[Decision] = []
    note: str | None = None
    credits: float = 0.0

    @property
    def choosable(self) -> set[int]:
        """The numbers of the candidates whose files are there."""
        numbered = enumerate(self.candidates, 1)
        return {number for number, candidate in numbered if not candidate.is_removed}


class ReviewRecordFile:
    """The file of the record of one task instance.

    :param folder: folder of the ledger.
    :param task: the task instance.
    """

    def __init__(self, folder: str, task: TaskIdentity) -> None:
        self.folder = folder
        self.uri = f"{stem_of(folder, task)}.review.json"
        self._options = record_write_options(self.uri, None)

    def load(self) -> ReviewRecord | None:
        """Return the record; ``None`` if there is none.

        :raises FluxLedgerError: if it exists and cannot be read.
        :raises FluxStorageError: if the store fails.
        """
        open_path(self.uri, field="ledger_path")
        data = run_sync(read(self.uri, retry=True, max_bytes=_MAX_RECORD_BYTES))
        if data is None:
            return None
        try:
            return ReviewRecord.model_validate_json(data)
        except ValidationError:
            raise FluxLedgerError(
                f"The record of the review at {self.uri} cannot be read. Remove it to start the "
                "review again."
            ) from None

    def save(self, record: ReviewRecord) -> None:
        """Replace the record.

        :param record: its new content.
        :raises FluxStorageError: if it cannot be written.
        """
        open_path(self.uri, field="ledger_path")
        run_sync(put(self.uri, record.model_dump_json().encode(), self._options))


def hash_sources(candidates: Sequence[Candidate]) -> str:
    """Return the hash that tells whether candidates are those of an earlier try.

    :param candidates: the first candidates.
    """
    digest = hashlib.sha256()
    for candidate in candidates:
        digest.update(f"{candidate.uri}\0{candidate.sha256}\n".encode(errors="replace"))
    return digest.hexdigest()


def is_unfinished(record: ReviewRecord, clear_id: str) -> bool:
    """Whether a try must carry out the recorded decision in place of asking.

    A retry carries out every decision. After a clear, other candidates that may have been submitted
    are generated to the end, and anything else is decided anew.

    :param record: the record of an earlier try.
    :param clear_id: clear id of this try.
    """
    if record.decision is None or record.phase == "open":
        return False
    is_paid = record.phase == "decided" and record.decision.kind == "ask_again"
    return record.clear_id == clear_id or is_paid
