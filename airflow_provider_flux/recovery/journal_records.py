"""The submits of a task that generates many images, as records to be read and changed from outside of it."""

from __future__ import annotations

import threading
import time
import uuid

from airflow_provider_flux.bfl.errors import error_from_dict
from airflow_provider_flux.ledger.journal import Segments, read_journal
from airflow_provider_flux.ledger.journal_entries import (
    JournaledSubmit,
    SegmentHeader,
    encode_line,
    fold_entries,
    phase_entry,
)
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.task_ledger import StoredRecord, record_write_options
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.objects import put

#: Seconds for which what was read of a journal is taken for what it says: it is one for thousands of records.
_FRESH = 5.0


class JournalRecordStore:
    """The journal in a folder.

    What is changed goes into a segment of its own, since nobody writes into that of another.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._submits: dict[str, JournaledSubmit] = {}
        self._claims: list[str] = []
        self._read_at = -_FRESH
        self._own: Segments | None = None

    def entries(self) -> list[StoredRecord]:
        """Return all records.

        :raises FluxLedgerError: if one cannot be read.
        :raises FluxStorageError: if it cannot be told which there are.
        """
        self._read()
        self._claims = list(self._submits)
        return [
            StoredRecord(self, number, self._submits[claim].as_record())
            for number, claim in enumerate(self._claims)
        ]

    def location(self, number: int) -> str:
        """Return the journal and the key of the row."""
        return f"{self._folder} (row {self._submits[self._claims[number]].key})"

    def read(self, number: int) -> Record | None:
        """Return a record as it is now."""
        with self._lock:
            self._read()
            submit = self._submits.get(self._claims[number])
            return None if submit is None else submit.as_record()

    def update(self, number: int, record: Record) -> None:
        """Note what has become of a record."""
        claim = self._claims[number]
        with self._lock:
            submit = self._submits[claim]
            error = error_from_dict(record.error) if record.error else None
            note = phase_entry(
                claim,
                submit.key,
                record.phase,
                generation=record.accepted if record.generation else None,
                error=error,
            )
            self._write(submit.header, encode_line(note))
            self._read_at = -_FRESH

    def _read(self) -> None:
        if time.monotonic() - self._read_at >= _FRESH:
            self._submits = {
                submit.claim: submit for submit in fold_entries(read_journal(self._folder))
            }
            self._read_at = time.monotonic()

    def _write(self, header: SegmentHeader, line: bytes) -> None:
        if self._own is None:
            own = {"session": uuid.uuid4().hex, "is_closed": True}
            self._own = Segments(header.model_copy(update=own))
        name, content = self._own.with_lines([line])
        run_sync(
            put(f"{self._folder}{name}", content, record_write_options(self._folder, header.target))
        )
        self._own.keep([line])
