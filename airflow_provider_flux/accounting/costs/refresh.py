"""Bring the index up to date: read the objects of ledgers that are new or have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

from airflow_provider_flux.accounting.costs.index import CostIndex, ReadObject
from airflow_provider_flux.accounting.costs.ledger_parts import ledger_of, parse_object
from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.ledger.journal_segments import MAX_SEGMENT_BYTES
from airflow_provider_flux.ledger.record_files import MAX_RECORD_BYTES
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.listing import ListedObject, list_versions
from airflow_provider_flux.object_store.objects import read

#: Objects of a listing that are compared with the index together.
_COMPARED_AT_ONCE = 2000
#: Objects that are read and stored together. A crash loses no more than these.
_READ_AT_ONCE = 200
_MAX_CONCURRENT_READS = 32
#: Folders that are listed concurrently. A request for each would take minutes one after another.
_LISTED_AT_ONCE = 16
#: Bytes of an object that is read with many others. Records and segments are far smaller.
_LARGE_BYTES = 1024 * 1024


@dataclass
class Progress:
    """The progress of a refresh, for whoever waits for it.

    :ivar listed: objects of ledgers that the listings named.
    :ivar changed: those that are new or have changed.
    :ivar read: those of them that were read.
    :ivar unlisted: folders that cannot be listed, each with the reason.
    :ivar not_utf8: objects that no ledger can have, since their names are not UTF-8.
    """

    listed: int = 0
    changed: int = 0
    read: int = 0
    unlisted: list[str] = field(default_factory=list)
    not_utf8: int = 0


#: Is called after each step, and may raise an exception to stop.
OnStep = Callable[[Progress], None]


def refresh_folders(
    index: CostIndex, folders: Iterable[str], on_step: OnStep = lambda progress: None
) -> Progress:
    """Bring the index up to date with all ledgers below some folders.

    :param index: the index.
    :param folders: URIs of folders, or local paths.
    :param on_step: called after each step. Does nothing by default.
    :return: what was read.
    """
    progress = Progress()
    for folder, listing in _list_folders(list(folders)):
        try:
            _refresh_folder(index, folder, listing, progress, on_step)
        except FluxError as error:
            progress.unlisted.append(error.message)
    on_step(progress)
    return progress


def _list_folders(folders: Sequence[str]) -> Iterator[tuple[str, Iterator[ListedObject]]]:
    """Yield each folder with its objects. Those of many small folders are listed concurrently."""
    if len(folders) <= 1:
        yield from ((folder, list_versions(folder, field="PATH")) for folder in folders)
        return
    with ThreadPoolExecutor(_LISTED_AT_ONCE, thread_name_prefix="flux-costs") as pool:
        for start in range(0, len(folders), _LISTED_AT_ONCE):
            part = folders[start : start + _LISTED_AT_ONCE]
            for folder, listed in zip(part, pool.map(_list_folder, part), strict=True):
                yield folder, _raise_or_yield(listed)


def _list_folder(folder: str) -> list[ListedObject] | FluxError:
    try:
        return [item for item in list_versions(folder, field="PATH") if ledger_of(item.uri)]
    except FluxError as error:
        return error


def _raise_or_yield(listed: list[ListedObject] | FluxError) -> Iterator[ListedObject]:
    if isinstance(listed, FluxError):
        raise listed
    yield from listed


def _refresh_folder(
    index: CostIndex,
    folder: str,
    listed: Iterator[ListedObject],
    progress: Progress,
    on_step: OnStep,
) -> None:
    index.begin_listing()
    listing = _ledger_objects(listed, progress)
    while compared := list(islice(listing, _COMPARED_AT_ONCE)):
        progress.listed += len(compared)
        changed = index.find_changed([item for item, _ in compared])
        progress.changed += len(changed)
        ledgers = {item.uri: ledger for item, ledger in compared}
        on_step(progress)
        for start in range(0, len(changed), _READ_AT_ONCE):
            part = changed[start : start + _READ_AT_ONCE]
            index.replace(
                _parse(item, ledgers[item.uri], data)
                for item, data in zip(part, _read_objects(part), strict=True)
            )
            progress.read += len(part)
            on_step(progress)
    index.remove_unlisted(f"{folder.rstrip('/')}/")


def _ledger_objects(
    listed: Iterable[ListedObject], progress: Progress
) -> Iterator[tuple[ListedObject, str]]:
    """Yield the records and segments of a listing, each with the folder of its ledger."""
    for item in listed:
        ledger = ledger_of(item.uri)
        if ledger is None:
            continue
        if _is_utf8(item.uri):
            yield item, ledger
        else:
            progress.not_utf8 += 1


def _parse(item: ListedObject, ledger: str, data: bytes | FluxError | None) -> ReadObject:
    if data is None:
        return ReadObject(item, ledger, None)  # it is gone since the listing
    if isinstance(data, FluxError):  # without its version, it is read again the next time
        return ReadObject(replace(item, version=""), ledger, None, data.message)
    try:
        return ReadObject(item, ledger, parse_object(item.uri, ledger, data))
    except FluxError as error:
        return ReadObject(item, ledger, None, error.message)


def _read_objects(objects: Sequence[ListedObject]) -> list[bytes | FluxError | None]:
    """Return the bytes of objects, or the error of each that cannot be read."""
    if all(item.local_path for item in objects):
        return [_read_file(item) for item in objects]
    return run_sync(_read_all(objects))


def _read_file(item: ListedObject) -> bytes | FluxError | None:
    limit = _limit_of(item)
    try:
        with open(str(item.local_path), "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return FluxStorageError(f"{item.uri} could not be read ({error.strerror}).")
    return data if len(data) <= limit else _too_large(item)


async def _read_all(objects: Sequence[ListedObject]) -> list[bytes | FluxError | None]:
    slots, large = asyncio.Semaphore(_MAX_CONCURRENT_READS), asyncio.Semaphore(1)

    async def read_one(item: ListedObject) -> bytes | FluxError | None:
        is_large = item.size is None or item.size > _LARGE_BYTES
        if item.size is not None and item.size > _limit_of(item):
            return _too_large(item)
        async with large if is_large else slots:
            try:
                return await read(item.uri, retry=True, max_bytes=_limit_of(item))
            except FluxError as error:
                return error

    return list(await asyncio.gather(*map(read_one, objects)))


def _limit_of(item: ListedObject) -> int:
    return MAX_SEGMENT_BYTES if item.uri.endswith(".jsonl") else MAX_RECORD_BYTES


def _too_large(item: ListedObject) -> FluxStorageError:
    return FluxStorageError(
        f"{item.uri} has more than {_limit_of(item)} bytes, and is not read further."
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
