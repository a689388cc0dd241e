"""The two homes of a ledger: files in an object store, and Airflow's task state store.

Records are numbered from 1, and written by one owner each, so there is nothing to list and nothing to lock but
the claim of a number. Both homes read and write the same records.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any, Protocol

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxLedgerError, FluxStorageError
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record import Record, parse_record
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.objects import put, read

#: Folder of the records below the beginning of an ``output_path``.
LEDGER_FOLDER = "_flux/ledger/"
#: Beginning of the keys in the task state store.
RECORD_KEY_PREFIX = "flux.submit."
#: A record outlives what can be collected by far: BFL keeps a result for minutes or hours.
_RETENTION = timedelta(days=30)
_UNSAFE = re.compile(r"[^\w.\-]")
_LONGEST_NAME = 80


class RecordStore(Protocol):
    """Where the records of one task instance are, to be read and changed."""

    def location(self, number: int) -> str:
        """Return where a record is, for a message."""

    def read(self, number: int) -> Record | None:
        """Return a record, ``None`` if there is none.

        :raises FluxLedgerError: if there is one, and it cannot be read.
        :raises FluxStorageError: if that cannot be told.
        """

    def update(self, number: int, record: Record) -> None:
        """Replace a record."""


class TaskRecordStore(RecordStore, Protocol):
    """The same for the task itself, which may submit."""

    def create(self, number: int, record: Record) -> None:
        """Claim a number.

        :raises FluxLedgerError: if somebody else has.
        """


class FileRecordStore:
    """Records as files, by any Airflow version: ``<folder>/<dag>/<run>/<task>-<hash>.1.json``.

    :param stem: what the URIs of the records begin with.
    :param manner: how they are stored.
    """

    def __init__(self, stem: str, manner: WriteOptions) -> None:
        self._stem = stem
        self._manner = manner

    def location(self, number: int) -> str:
        """Return the URI of a record."""
        return f"{self._stem}.{number}.json"

    def read(self, number: int) -> Record | None:
        """Return a record, ``None`` if there is none."""
        return run_sync(read_record_file(self.location(number)))

    def create(self, number: int, record: Record) -> None:
        """Claim a number by an exclusive create; that there was none is known from reading it just now."""
        uri = self.location(number)
        try:
            run_sync(put(uri, record.as_bytes(), self._manner, exclusive=True, check_first=False))
        except FluxExistsError:
            raise FluxLedgerError(
                f"There is a record at {uri} already, which could not be read, or was made this very moment: another "
                "process may be submitting for this task. Nothing was submitted. The ledger needs credentials that may "
                "read as well as write."
            ) from None

    def update(self, number: int, record: Record) -> None:
        """Replace a record of ours."""
        run_sync(put(self.location(number), record.as_bytes(), self._manner))


async def read_record_file(uri: str) -> Record | None:
    """Return the record in a file, ``None`` if there is none. To be run on the loop of the stores."""
    data = await read(uri, retry=True)
    return None if data is None else parse_record(data, uri)


async def replace_record_file(uri: str, record: Record, manner: WriteOptions) -> None:
    """Replace the record in a file. To be run on the loop of the stores."""
    await put(uri, record.as_bytes(), manner)


class TaskStateRecordStore:
    """Records in the task state store of Airflow 3.3 and newer, which survives retries and clears."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def location(self, number: int) -> str:
        """Return the key of a record."""
        return f"{RECORD_KEY_PREFIX}{number} in the task state store"

    def read(self, number: int) -> Record | None:
        """Return a record, ``None`` if there is none."""
        try:
            stored = self._store.get(f"{RECORD_KEY_PREFIX}{number}")
        except Exception as error:
            raise _broken(self.location(number), "read", error) from None
        return None if stored is None else parse_record(stored, self.location(number))

    def create(self, number: int, record: Record) -> None:
        """Write a new record. Airflow runs one try of a task at a time."""
        self.update(number, record)

    def update(self, number: int, record: Record) -> None:
        """Replace a record of ours."""
        try:
            self._store.set(f"{RECORD_KEY_PREFIX}{number}", record.as_json(), retention=_RETENTION)
        except Exception as error:
            raise _broken(self.location(number), "written", error) from None


def stem_of(folder: str, owner: TaskIdentity) -> str:
    """Return what the URIs of a task's records begin with: to be read by people, and told apart by its hash."""
    identity = "\0".join(map(str, (owner.dag_id, owner.run_id, owner.task_id, owner.map_index)))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    task = (
        _name(owner.task_id) if owner.map_index < 0 else f"{_name(owner.task_id)}.{owner.map_index}"
    )
    return f"{folder.rstrip('/')}/{_name(owner.dag_id)}/{_name(owner.run_id)}/{task}-{digest}"


def _name(text: str | None) -> str:
    return _UNSAFE.sub("_", text or "none")[:_LONGEST_NAME].lstrip(".") or "_"


def _broken(location: str, what: str, error: Exception) -> FluxStorageError:
    return FluxStorageError(f"The record {location} could not be {what} ({type(error).__name__}).")
