"""The journal of a batch: its entries, written together in few puts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, encode_line
from airflow_provider_flux.ledger.journal_owner import OwnerCheck
from airflow_provider_flux.ledger.journal_segments import SegmentBuffer
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_near
from airflow_provider_flux.object_store.objects import put

log = logging.getLogger(__name__)

#: Longest time for which an entry waits for others that share its put.
_LATER_SECONDS = 1.0


class Journal:
    """The writer of one try. Use it on one event loop.

    Entries that arrive while a put is on its way share the next one. An entry is durable when its
    put has returned.

    :param folder: URI of the journal, with a slash at its end.
    :param header: the first line of each segment.
    :param options: options of each write.
    :param entries: entries to write with the first ones, or when the journal is closed.
    """

    def __init__(
        self,
        folder: str,
        header: SegmentHeader,
        options: WriteOptions,
        entries: Iterable[dict[str, Any]] = (),
    ) -> None:
        self._folder = folder
        self._options = options
        self._segment = SegmentBuffer(header)
        self._owner = OwnerCheck(folder, header.session)
        self._queue = list(map(encode_line, entries))
        self._waiting: list[asyncio.Future[None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None

    @property
    def unwritten(self) -> int:
        """The number of entries that are not durable yet."""
        return len(self._queue)

    def is_owner(self) -> bool:
        """Whether no later try owns the journal. Do not call it on an event loop.

        :raises FluxStorageError: if the store fails.
        """
        return self._owner.is_owner()

    async def append(self, entry: dict[str, Any]) -> None:
        """Write an entry. It is durable when this returns.

        An entry whose write fails is written later, because later entries refer to it.

        :param entry: an entry of :func:`intent_entry` or :func:`phase_entry`.
        :raises FluxLedgerError: if a later try owns the journal.
        :raises FluxStorageError: if it cannot be written now.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self.append_soon(entry)
        await written

    def append_soon(self, entry: dict[str, Any]) -> None:
        """Write an entry as soon as possible. :meth:`close` raises if it could not be written.

        :param entry: an entry of :func:`intent_entry` or :func:`phase_entry`.
        """
        self._queue.append(encode_line(entry))
        self._start_writing()

    def append_later(self, entry: dict[str, Any]) -> None:
        """Write an entry with the next ones, or after a second, as :meth:`append_soon` does.

        For entries without which a retry only repeats work that costs no credits.

        :param entry: an entry of :func:`phase_entry`.
        """
        self._queue.append(encode_line(entry))
        if self._later is None and (self._writing is None or self._writing.done()):
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(_LATER_SECONDS, self._start_writing)

    def _start_writing(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())

    async def close(self) -> None:
        """Write the entries that are left, and that the try ended.

        :raises FluxStorageError: if they cannot be written. The log names the generations then.
        """
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._writing:
            await self._writing
        self._segment.mark_closed()
        try:
            await self._put(self._take_queue())
        except FluxError:
            self._log_unrecorded()
            raise

    async def _write_all(self) -> None:
        while self._queue:
            waiting = self._take_waiting()
            try:
                if waiting:
                    await self._owner.check()
                    waiting += self._take_waiting()  # Entries that arrived meanwhile.
                await self._put(self._take_queue())
                if waiting:  # A slow put may have taken longer than a later try waits.
                    await self._owner.check()
            except Exception as error:  # No caller may wait forever, whatever the error.
                _set_exception(waiting, error)
                if not waiting and not self._waiting:
                    log.warning(
                        "%d entries of the journal are not written yet. %s", self.unwritten, error
                    )
                    return
            else:
                _set_done(waiting)

    def _take_waiting(self) -> list[asyncio.Future[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _take_queue(self) -> list[bytes]:
        lines, self._queue = self._queue, []
        return lines

    async def _put(self, lines: list[bytes]) -> None:
        try:
            for name, content in self._segment.render(lines):
                await run_near(self._folder, put(f"{self._folder}{name}", content, self._options))
        except BaseException:
            self._queue = lines + self._queue
            raise
        self._segment.mark_written(lines)

    def _log_unrecorded(self) -> None:
        for entry in map(json.loads, self._queue):
            if entry["phase"] != "submitted":
                continue
            generation = {key: entry["generation"][key] for key in ("request_id", "polling_url")}
            log.error(
                "Row %s was submitted, but its request could not be recorded. Land it without a "
                "second charge: FluxToObjectStorageOperator(generation=%s, output_path=...)",
                entry["key"],
                generation,
            )


def _set_done(waiting: list[asyncio.Future[None]]) -> None:
    for written in waiting:
        if not written.cancelled():
            written.set_result(None)


def _set_exception(waiting: list[asyncio.Future[None]], error: Exception) -> None:
    for written in waiting:
        if not written.cancelled():
            written.set_exception(error)
