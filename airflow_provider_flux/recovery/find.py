"""Finding the records of many tasks: below a prefix, or of a DAG or a run, by what Airflow's database knows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.ledger.journal import SEGMENT_PATTERN
from airflow_provider_flux.ledger.record import parse_record
from airflow_provider_flux.ledger.record_store import FileRecordStore, read_record_file
from airflow_provider_flux.ledger.task_ledger import StoredRecord, record_write_options
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import list_uris
from airflow_provider_flux.recovery import metadata_db
from airflow_provider_flux.recovery.journal_records import JournalRecordStore

#: How the names of records end, as :func:`~airflow_provider_flux.ledger.record_store.stem_of` makes them.
_RECORD = re.compile(r"-[0-9a-f]{16}\.[0-9]+\.json$")
#: Records that are read at once.
_AT_ONCE = 32


@dataclass(frozen=True)
class RecordFilter:
    """Which records are looked for.

    :param prefixes: folders: beginnings of ``output_path``, or ``ledger_path``. Without any, Airflow's database says
        where the tasks of ``dag_id`` and ``run_id`` keep them.
    """

    prefixes: Sequence[str] = ()
    dag_id: str | None = None
    run_id: str | None = None

    def fits(self, entry: StoredRecord) -> bool:
        """Whether a record is one of those."""
        owner = entry.record.owner
        return self.dag_id in {None, owner.dag_id} and self.run_id in {None, owner.run_id}


@dataclass(frozen=True)
class Unreadable:
    """A record that cannot be read, or a folder that cannot be listed."""

    location: str
    error: FluxError


def find_entries(wanted: RecordFilter) -> tuple[list[StoredRecord], list[Unreadable]]:
    """Return the records there are, and what could not be read."""
    entries: list[StoredRecord] = []
    unreadable: list[Unreadable] = []
    folders: Iterable[str] = wanted.prefixes
    if not wanted.prefixes:
        folders = metadata_db.folders_of(wanted.dag_id)
        for home, number, stored in metadata_db.stored_records(wanted.dag_id, wanted.run_id):
            try:
                entries.append(
                    StoredRecord(home, number, parse_record(stored, home.location(number)))
                )
            except FluxError as error:
                unreadable.append(Unreadable(home.location(number), error))
    for folder in folders:
        try:
            path = open_path(f"{folder.rstrip('/')}/", field="prefix")
            if (
                wanted.prefixes
                and path.protocol in {"", "file", "local"}
                and not Path(path.path).is_dir()
            ):
                raise FluxStorageError(f"{folder} is no folder of this machine.")
            uris = sorted(run_sync(list_uris(f"{folder.rstrip('/')}/")))
        except FluxError as error:
            unreadable.append(Unreadable(folder, error))
            continue
        found = [*run_sync(_read_all(uris)), *_read_journals(uris)]
        entries += [one for one in found if isinstance(one, StoredRecord)]
        unreadable += [one for one in found if isinstance(one, Unreadable)]
    return [one for one in entries if wanted.fits(one)], unreadable


def _read_journals(uris: Sequence[str]) -> Iterator[StoredRecord | Unreadable]:
    """Yield the records of batches."""
    for folder in dict.fromkeys(
        uri[: uri.rindex("/") + 1] for uri in uris if SEGMENT_PATTERN.search(uri)
    ):
        try:
            yield from JournalRecordStore(folder).entries()
        except FluxError as error:
            yield Unreadable(folder, error)


async def _read_all(uris: Sequence[str]) -> list[StoredRecord | Unreadable]:
    """Read the records of single images."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def read_one(uri: str) -> StoredRecord | Unreadable:
        async with room:
            try:
                record = await read_record_file(uri)
            except FluxError as error:
                return Unreadable(uri, error)
        if record is None:
            return Unreadable(uri, FluxStorageError(f"{uri} is gone, or may not be read."))
        stem, _, number = uri.removesuffix(".json").rpartition(".")
        return StoredRecord(
            FileRecordStore(stem, record_write_options(uri, record.target)), int(number), record
        )

    return await asyncio.gather(*[read_one(uri) for uri in uris if _RECORD.search(uri)])
