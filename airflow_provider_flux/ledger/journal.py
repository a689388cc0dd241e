"""The journal of a task that generates many images: segments of lines in an object store, with group commit.

An object store cannot append. So the segment at the end is written anew, in one put, with all the lines that have come
meanwhile, until it is full and the next one begins. A line is durable when the put that holds it has returned.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError
from airflow_provider_flux.ledger.journal_entries import (
    JournalEntry,
    SegmentHeader,
    encode_line,
    parse_segment,
)
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_async, run_sync
from airflow_provider_flux.object_store.objects import list_uris, put, read

log = logging.getLogger(__name__)

#: What the folder of a journal, and its segments, are called beside the records of single images.
JOURNAL_SUFFIX = ".rows/"
SEGMENT_PATTERN = re.compile(r"-[0-9a-f]{16}\.rows/[0-9a-f]{32}\.[0-9]{6}\.jsonl$")
_NUMBER = re.compile(r"\.([0-9]{6})\.jsonl$")
#: A segment is closed at this size: what is written again with each commit must stay small.
SEGMENT_BYTES = 64 * 1024
#: Seconds after which a try looks whether a later one has taken over, and for which that one waits before it reads.
OWNER_CHECK_SECONDS = 3.0
_OWNER = "owner.json"
#: Segments that are read at once.
_AT_ONCE = 16


class Segments:
    """The segments of one writer: which one a line belongs to, and what it holds then.

    :param header: the first line of each.
    """

    def __init__(self, header: SegmentHeader) -> None:
        self.header = header
        self._number = 0
        self._lines: list[bytes] = []

    def with_lines(self, lines: Iterable[bytes]) -> tuple[str, bytes]:
        """Return the name of the segment that takes further lines, and what is to be put there."""
        name = f"{self.header.session}.{self._number:06d}.jsonl"
        return name, b"".join(
            [encode_line(self.header.model_dump(mode="json")), *self._lines, *lines]
        )

    def keep(self, lines: Iterable[bytes]) -> None:
        """Note that they have been put there."""
        self._lines += lines
        if sum(map(len, self._lines)) > SEGMENT_BYTES:
            self._number += 1
            self._lines.clear()


class Journal:
    """Writes the lines of one try. To be used on one event loop.

    :param folder: URI, with a slash at its end.
    :param manner: how segments are stored.
    """

    def __init__(self, folder: str, header: SegmentHeader, manner: WriteOptions) -> None:
        self._folder = folder
        self._session = header.session
        self._segments = Segments(header)
        self._manner = manner
        self._queue: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._looked_at = -OWNER_CHECK_SECONDS
        self._is_taken = False

    @property
    def unwritten(self) -> int:
        """Lines that could not be written yet."""
        return len(self._queue)

    async def append(self, entry: dict[str, Any]) -> None:
        """Write a line; it is durable when this returns.

        What fails is written all the same as soon as it can be: what is noted of it later must find it.

        :raises FluxLedgerError: if a later try has taken over.
        :raises FluxStorageError: if it cannot be written now.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self.append_soon(entry)
        await written

    def append_soon(self, entry: dict[str, Any]) -> None:
        """Write a line as soon as it can be; :meth:`close` tells if it could not."""
        self._queue.append(encode_line(entry))
        self._write_on()

    async def close(self) -> None:
        """Write what is left, and that the try has ended.

        :raises FluxStorageError: if it cannot be written. What was paid for is told in the log then.
        """
        if self._writing:
            await self._writing
        self._segments.header = self._segments.header.model_copy(update={"is_closed": True})
        try:
            await self._commit(self._take())
        except FluxError:
            for line in map(json.loads, self._queue):
                if line["phase"] == "submitted":
                    wanted = {
                        name: line["generation"][name] for name in ("request_id", "polling_url")
                    }
                    log.error(
                        "Row %s was paid for, which could not be recorded. FluxToObjectStorageOperator(generation=%s, "
                        "output_path=...) lands it without paying again",
                        line["key"],
                        wanted,
                    )
            raise

    def is_owner(self) -> bool:
        """Whether no later try has taken over. Not to be called on an event loop.

        :raises FluxStorageError: if that cannot be told.
        """
        return run_sync(read_owner(self._folder)) in {None, self._session}

    def _write_on(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._queue:
            waiting, self._waiting = self._waiting, []
            try:
                if waiting:
                    await self._look_at_owner()
                    waiting += self._waiting  # what came meanwhile is written along
                    self._waiting = []
                await self._commit(self._take())
                if waiting:  # longer ago than a later try waits, if the store was slow
                    await self._look_at_owner()
            except Exception as error:  # whatever it is, nobody must wait for ever
                for one in waiting:
                    if not one.cancelled():
                        one.set_exception(error)
                if not waiting and not self._waiting:
                    log.warning(
                        "%d lines of the journal could not be written yet. %s",
                        len(self._queue),
                        error,
                    )
                    return
                continue
            for one in waiting:
                if not one.cancelled():
                    one.set_result(None)

    def _take(self) -> list[bytes]:
        taken, self._queue = self._queue, []
        return taken

    async def _commit(self, lines: list[bytes]) -> None:
        name, content = self._segments.with_lines(lines)
        try:
            await run_async(put(f"{self._folder}{name}", content, self._manner))
        except BaseException:
            self._queue = lines + self._queue
            raise
        self._segments.keep(lines)

    async def _look_at_owner(self) -> None:
        """Stop submitting when a later try has taken over: this one was taken for dead.

        :raises FluxLedgerError: then.
        """
        if self._is_taken:
            raise _taken(self._folder)
        now = time.monotonic()
        if now - self._looked_at < OWNER_CHECK_SECONDS:
            return
        owner = await run_async(read_owner(self._folder))
        if owner not in {None, self._session}:
            self._is_taken = True
            raise _taken(self._folder)
        self._looked_at = now


def claim_journal(folder: str, header: SegmentHeader, manner: WriteOptions) -> None:
    """Make this try the one that may submit.

    :raises FluxStorageError: if that cannot be written.
    """
    said = {
        "session": header.session,
        "try_number": header.owner.try_number,
        "at": header.opened_at,
    }
    run_sync(put(f"{folder}{_OWNER}", json.dumps(said).encode() + b"\n", manner))


def read_journal(folder: str) -> Iterator[tuple[SegmentHeader, list[JournalEntry]]]:
    """Yield the segments of all tries, a few in memory at a time.

    :raises FluxLedgerError: if one of them cannot be read, or is missing.
    :raises FluxStorageError: if it cannot be told what there is.
    """
    uris = sorted(uri for uri in run_sync(list_uris(folder)) if uri.endswith(".jsonl"))
    _check_complete(uris)
    for start in range(0, len(uris), _AT_ONCE):
        for uri, data in run_sync(_read_some(uris[start : start + _AT_ONCE])):
            if data is None:
                raise FluxLedgerError(
                    f"The journal {uri} is there, and may not be read. Nothing is submitted."
                )
            yield parse_segment(data, uri)


def _check_complete(uris: Iterable[str]) -> None:
    """Refuse a journal with a gap: the segments of each writer are numbered from 0.

    :raises FluxLedgerError: if one is missing.
    """
    expected: Counter[str] = Counter()
    for uri in uris:
        found = _NUMBER.search(uri)
        session = uri[: found.start()] if found else uri
        if found and int(found[1]) != expected[session]:
            raise FluxLedgerError(
                f"The segment {session}.{expected[session]:06d}.jsonl of a journal is missing. It may name images "
                "that were paid for, so nothing is submitted. Bring it back; remove the others of that name to accept "
                "a possible second charge."
            )
        expected[session] += 1


async def _read_some(uris: list[str]) -> list[tuple[str, bytes | None]]:
    return list(
        zip(uris, await asyncio.gather(*(read(uri, retry=True) for uri in uris)), strict=True)
    )


async def read_owner(folder: str) -> str | None:
    """Return the session of the try that may submit; ``None`` if there is none. To be run on the loop of the stores."""
    data = await read(f"{folder}{_OWNER}", retry=True)
    try:
        return str(json.loads(data)["session"]) if data else None
    except (ValueError, KeyError, TypeError):
        return None


def _taken(folder: str) -> FluxLedgerError:
    return FluxLedgerError(
        f"A later try of this task has taken over {folder}. This one submits nothing more."
    )
