"""Finding the records of many tasks: below a prefix, or of a DAG or a run, by what Airflow's database knows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.ledger import database
from airflow_provider_flux.ledger.book import Entry, manner_of
from airflow_provider_flux.ledger.homes import FileHome, aread
from airflow_provider_flux.ledger.journal import SEGMENT
from airflow_provider_flux.ledger.record import read_record
from airflow_provider_flux.ledger.rows_home import RowsHome
from airflow_provider_flux.storage.writer import names_below
from airflow_provider_flux.stores import open_path, run

#: How the names of records end, as :func:`~airflow_provider_flux.ledger.homes.stem_of` makes them.
_RECORD = re.compile(r"-[0-9a-f]{16}\.[0-9]+\.json$")
#: Records that are read at once.
_AT_ONCE = 32


@dataclass(frozen=True)
class Wanted:
    """Which records are looked for.

    :param prefixes: folders: beginnings of ``output_path``, or ``ledger_path``. Without any, Airflow's database says
        where the tasks of ``dag_id`` and ``run_id`` keep them.
    """

    prefixes: Sequence[str] = ()
    dag_id: str | None = None
    run_id: str | None = None

    def fits(self, entry: Entry) -> bool:
        """Whether a record is one of those."""
        owner = entry.record.owner
        return self.dag_id in {None, owner.dag_id} and self.run_id in {None, owner.run_id}


@dataclass(frozen=True)
class Unreadable:
    """A record that cannot be read, or a folder that cannot be listed."""

    place: str
    error: FluxError


def find_entries(wanted: Wanted) -> tuple[list[Entry], list[Unreadable]]:
    """Return the records there are, and what could not be read."""
    entries: list[Entry] = []
    unreadable: list[Unreadable] = []
    folders: Iterable[str] = wanted.prefixes
    if not wanted.prefixes:
        folders = database.folders_of(wanted.dag_id)
        for home, number, stored in database.stored_records(wanted.dag_id, wanted.run_id):
            try:
                entries.append(Entry(home, number, read_record(stored, home.place(number))))
            except FluxError as error:
                unreadable.append(Unreadable(home.place(number), error))
    for folder in folders:
        try:
            path = open_path(f"{folder.rstrip('/')}/", field="prefix")
            if wanted.prefixes and path.protocol in {"", "file", "local"} and not Path(path.path).is_dir():
                raise FluxStorageError(f"{folder} is no folder of this machine.")
            uris = sorted(run(names_below(f"{folder.rstrip('/')}/")))
        except FluxError as error:
            unreadable.append(Unreadable(folder, error))
            continue
        found = [*run(_read_all(uris)), *_read_journals(uris)]
        entries += [one for one in found if isinstance(one, Entry)]
        unreadable += [one for one in found if isinstance(one, Unreadable)]
    return [one for one in entries if wanted.fits(one)], unreadable


def _read_journals(uris: Sequence[str]) -> Iterator[Entry | Unreadable]:
    """Yield the records of batches."""
    for folder in dict.fromkeys(uri[: uri.rindex("/") + 1] for uri in uris if SEGMENT.search(uri)):
        try:
            yield from RowsHome(folder).entries()
        except FluxError as error:
            yield Unreadable(folder, error)


async def _read_all(uris: Sequence[str]) -> list[Entry | Unreadable]:
    """Read the records of single images."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def read_one(uri: str) -> Entry | Unreadable:
        async with room:
            try:
                record = await aread(uri)
            except FluxError as error:
                return Unreadable(uri, error)
        if record is None:
            return Unreadable(uri, FluxStorageError(f"{uri} is gone, or may not be read."))
        stem, _, number = uri.removesuffix(".json").rpartition(".")
        return Entry(FileHome(stem, manner_of(uri, record.target)), int(number), record)

    return await asyncio.gather(*[read_one(uri) for uri in uris if _RECORD.search(uri)])
