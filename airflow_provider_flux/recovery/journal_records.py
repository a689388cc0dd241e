"""The submits of a batch as records, which ``airflow flux recover`` reads and changes."""

from __future__ import annotations

import threading
import time
import uuid

from airflow_provider_flux.bfl.errors import error_from_dict
from airflow_provider_flux.bfl.redaction import escape_control
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, encode_line, phase_entry
from airflow_provider_flux.ledger.journal_segments import SegmentBuffer, read_journal
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit, fold_entries
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_files import record_write_options
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.objects import put

#: Seconds until the journal is read again. One read serves thousands of records.
_MAX_AGE_SECONDS = 5.0


class JournalRecordStore:
    """The submits of one journal.

    A change goes into a segment of its own, since each writer writes its own segments only.

    :param folder: URI of the journal, with a slash at its end.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._submits: dict[str, JournaledSubmit] = {}
        self._claims: list[str] = []
        self._read_at = -_MAX_AGE_SECONDS
        self._own_segment: SegmentBuffer | None = None

    def read_records(self) -> list[StoredRecord]:
        """Return all records.

        :raises FluxLedgerError: if a segment cannot be read, or is missing.
        :raises FluxStorageError: if the store fails.
        """
        self._read_if_old()
        self._claims = list(self._submits)
        latest: dict[str, str] = {}
        records = []
        for number, claim in enumerate(self._claims):
            submit = self._submits[claim]
            # A later submit of a row takes the place of the one before, as records of a task do.
            follows, latest[submit.key] = latest.get(submit.key), claim
            record = submit.as_record().model_copy(update={"follows": follows})
            records.append(StoredRecord(self, number, record))
        return records

    def location(self, number: int) -> str:
        """Return the journal and the key of the row.

        :param number: number of the record.
        """
        return f"{self._folder} (row {escape_control(self._submits[self._claims[number]].key)})"

    def uri(self, number: int) -> None:
        """Return ``None``: a batch has no triggers.

        :param number: number of the record.
        """

    def read(self, number: int) -> Record | None:
        """Return a record, at most a few seconds old; ``None`` if it is gone.

        :param number: number of the record.
        :raises FluxLedgerError: if a segment cannot be read, or is missing.
        :raises FluxStorageError: if the store fails.
        """
        with self._lock:
            self._read_if_old()
            submit = self._submits.get(self._claims[number])
            return None if submit is None else submit.as_record()

    def read_answer(self, number: int) -> None:
        """Return ``None``: a batch polls on its worker, and no webhook names its rows.

        :param number: number of the record.
        """

    def update(self, number: int, record: Record) -> None:
        """Append an entry with the new phase of a record.

        :param number: number of the record.
        :param record: its new content.
        :raises FluxStorageError: if it cannot be written.
        """
        claim = self._claims[number]
        with self._lock:
            submit = self._submits[claim]
            entry = phase_entry(
                claim,
                submit.key,
                record.phase,
                generation=record.accepted if record.generation else None,
                error=error_from_dict(record.error) if record.error else None,
            )
            self._write(submit.header, encode_line(entry))
            self._read_at = -_MAX_AGE_SECONDS

    def _read_if_old(self) -> None:
        if time.monotonic() - self._read_at < _MAX_AGE_SECONDS:
            return
        submits = fold_entries(read_journal(self._folder))
        self._submits = {submit.claim: submit for submit in submits}
        self._read_at = time.monotonic()

    def _write(self, header: SegmentHeader, line: bytes) -> None:
        if self._own_segment is None:
            changes = {"session": uuid.uuid4().hex, "is_closed": True}
            self._own_segment = SegmentBuffer(header.model_copy(update=changes))
        options = record_write_options(self._folder, header.target)
        for name, content in self._own_segment.render([line]):
            run_sync(put(f"{self._folder}{name}", content, options))
        self._own_segment.mark_written([line])
