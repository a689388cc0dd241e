"""Find the records of many tasks: below folders, or in what Airflow's database knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.ledger.journal_segments import journal_folders
from airflow_provider_flux.ledger.record import Record, parse_record
from airflow_provider_flux.ledger.record_files import (
    is_record_uri,
    read_record_file,
    stored_in_file,
)
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.object_store.filesystem import find_missing_bucket, open_path, run_sync
from airflow_provider_flux.object_store.objects import list_uris
from airflow_provider_flux.recovery import metadata_db
from airflow_provider_flux.recovery.journal_records import JournalRecordStore

_MAX_CONCURRENT_READS = 32


@dataclass(frozen=True)
class RecordFilter:
    """The records to find.

    :param prefixes: folders: the beginnings of ``output_path`` or ``ledger_path``. If it is empty,
        Airflow's database names the folders of the tasks of ``dag_id``.
    :param dag_id: id of the DAG; ``None`` for all DAGs.
    :param run_id: id of the DAG run; ``None`` for all runs.
    """

    prefixes: Sequence[str] = ()
    dag_id: str | None = None
    run_id: str | None = None

    def matches(self, stored: StoredRecord) -> bool:
        """Whether a record is one of those.

        :param stored: any record.
        """
        owner = stored.record.owner
        return self.dag_id in {None, owner.dag_id} and self.run_id in {None, owner.run_id}


@dataclass(frozen=True)
class Unreadable:
    """A record that cannot be read, or a folder that cannot be listed.

    :param location: its location, for a message.
    :param error: the reason.
    """

    location: str
    error: FluxError


@dataclass(frozen=True)
class FoundRecord:
    """A record, and where it was found.

    :param stored: the record.
    :param uri: URI of its file, or of the folder of its journal. Whoever may write to that bucket
        may have written it. ``None`` if it is in Airflow's database.
    """

    stored: StoredRecord
    uri: str | None

    @property
    def record(self) -> Record:
        """The content of the record, when it was read or written last."""
        return self.stored.record


@dataclass
class FoundRecords:
    """The records that were found.

    :param records: the records.
    :param unreadable: the records and folders that cannot be read.
    """

    records: list[FoundRecord] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def add(self, item: FoundRecord | Unreadable) -> None:
        """Add a record.

        :param item: the record, or the reason why it cannot be read.
        """
        if isinstance(item, FoundRecord):
            self.records.append(item)
        else:
            self.unreadable.append(item)


def find_records(record_filter: RecordFilter) -> FoundRecords:
    """Return the records that match a filter, and all that cannot be read.

    :param record_filter: the records to find.
    """
    found = FoundRecords()
    folders = list(record_filter.prefixes)
    if not folders:
        for item in read_database(record_filter.dag_id, record_filter.run_id):
            found.add(item)
        folders = sorted(metadata_db.ledger_folders_of(record_filter.dag_id))
    for folder in folders:
        for item in read_folder(folder, must_exist=bool(record_filter.prefixes)):
            found.add(item)
    matching = [record for record in found.records if record_filter.matches(record.stored)]
    return FoundRecords(matching, found.unreadable)


def read_database(dag_id: str | None, run_id: str | None) -> Iterator[FoundRecord | Unreadable]:
    """Yield the records in the task state store, and those that cannot be read.

    :param dag_id: id of the DAG; ``None`` for all DAGs.
    :param run_id: id of the DAG run; ``None`` for all runs.
    """
    for store, number, value in metadata_db.read_values(dag_id, run_id):
        location = store.location(number)
        try:
            record = parse_record(value, location)
            yield FoundRecord(StoredRecord(store, number, record), None)
        except FluxError as error:
            yield Unreadable(location, error)


def read_folder(folder: str, *, must_exist: bool) -> Iterator[FoundRecord | Unreadable]:
    """Yield the records of single images and of batches below a folder.

    :param folder: the folder, with all its subfolders.
    :param must_exist: whether a folder that is missing counts as one that cannot be read.
    """
    try:
        uris = _list_folder(folder, must_exist=must_exist)
    except FluxError as error:
        yield Unreadable(folder, error)
        return
    yield from run_sync(_read_files([uri for uri in uris if is_record_uri(uri)]))
    for journal in journal_folders(uris):
        try:
            for stored in JournalRecordStore(journal).read_records():
                yield FoundRecord(stored, journal)
        except FluxError as error:
            yield Unreadable(journal, error)


def _list_folder(folder: str, *, must_exist: bool) -> list[str]:
    uri = f"{folder.rstrip('/')}/"
    path = open_path(uri, field="prefix")
    is_local = path.protocol in {"", "file", "local"}
    if must_exist and is_local and not Path(path.path).is_dir():
        raise FluxStorageError(f"{folder} is no folder of this machine.")
    uris = sorted(run_sync(list_uris(uri)))
    if must_exist and not uris and (bucket := find_missing_bucket(uri)):
        raise FluxStorageError(f"{folder} cannot be searched: there is no bucket {bucket!r}.")
    return uris


async def _read_files(uris: Sequence[str]) -> list[FoundRecord | Unreadable]:
    """Read the records of single images."""
    semaphore = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    async def read_file(uri: str) -> FoundRecord | Unreadable:
        async with semaphore:
            try:
                record = await read_record_file(uri)
            except FluxError as error:
                return Unreadable(uri, error)
        if record is None:
            return Unreadable(
                uri, FluxStorageError(f"{uri} is gone, or the credentials may not read it.")
            )
        return FoundRecord(stored_in_file(uri, record), uri)

    return await asyncio.gather(*map(read_file, uris))
