"""The queue of pending rows: a few of each limit group, prepared before their turn comes."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from airflow_provider_flux.batch.execution.waiting_rows import WaitingRows
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.batch.row_store import RowStore

#: Rows of one limit group that are in memory. The inputs of prepared ones take space on the disk.
_MAX_ROWS_PER_GROUP = 16
_Heap = list[tuple[int, PendingRow]]


class RowPreparer(Protocol):
    """The part of :class:`~airflow_provider_flux.batch.execution.prepare.Preparer` in use."""

    def must_prepare(self, row: PendingRow) -> bool:
        """Return whether a row has anything to prepare.

        :param row: a row as the store returns it.
        """

    def prepare(self, row: PendingRow) -> Awaitable[PendingRow | None]:
        """Prepare a row, and return it; ``None`` if it has ended, or waits.

        :param row: a row as the store returns it.
        """

    def release(self, row: PendingRow) -> None:
        """Release what the preparation of a row took, because it is not submitted any more.

        :param row: the row.
        """


class RowQueue:
    """Queue in the order of the input, as far as the limits of the groups allow.

    :param store: the rows of the batch.
    :param groups: limit groups of the rows.
    :param preparer: prepares rows that need it.
    :param on_prepared: called when a row has been prepared.
    :param waiting: the rows that wait for an image of another row or task.
    """

    def __init__(
        self,
        store: RowStore,
        groups: Collection[str],
        preparer: RowPreparer,
        on_prepared: Callable[[], None],
        waiting: WaitingRows,
    ) -> None:
        self._store = store
        self._preparer = preparer
        self._on_prepared = on_prepared
        self._waiting = waiting
        #: Index of the last row that was read, for each group that may have more.
        self._last_read = dict.fromkeys(groups, -1)
        self._ready: defaultdict[str, _Heap] = defaultdict(list)
        self._preparing: dict[asyncio.Task[None], PendingRow] = {}
        #: Rows that were added before their turn in the store, which may return them again.
        self._added: set[int] = set()

    @property
    def is_empty(self) -> bool:
        """Whether no row is left: in the store, in preparation or waiting."""
        if self._last_read or self._preparing or not self._waiting.is_empty:
            return False
        return not any(self._ready.values())

    @property
    def rows_in_memory(self) -> int:
        """The number of rows that are prepared or in preparation."""
        return sum(map(len, self._ready.values())) + len(self._preparing)

    def waiting_rows(self, many: int) -> dict[str, int]:
        """Return the number of rows of each limit group that could be submitted.

        :param many: number for a group whose rows are not all in memory.
        """
        return {
            group: many if group in self._last_read else self._count(group)
            for group in {*self._last_read, *self._ready}
        }

    def take(self, can_submit: Callable[[str], bool]) -> PendingRow | None:
        """Return the next row that may be submitted; ``None`` if no such row is ready.

        :param can_submit: decides whether a limit group may submit one more row.
        """
        self._refill()
        groups = [group for group, rows in self._ready.items() if rows and can_submit(group)]
        if not groups:
            return None
        first = min(groups, key=lambda group: self._ready[group][0][0])
        row = heapq.heappop(self._ready[first])[1]
        self._refill()
        return row

    def put_back(self, row: PendingRow) -> None:
        """Take back a prepared row. It is the next one of its group.

        :param row: a row that :meth:`take` returned.
        """
        heapq.heappush(self._ready[row.group], (row.index, row))

    def add(self, row: PendingRow) -> None:
        """Take a row that is to be submitted again, and may need preparation.

        :param row: a row as a fallback or a rejected image makes it. The store has it as pending.
        """
        if any(row.index > last for last in self._last_read.values()):
            self._added.add(row.index)
        self._take_over(row)

    def _take_over(self, row: PendingRow) -> None:
        if not self._preparer.must_prepare(row):
            self.put_back(row)
            return
        task = asyncio.create_task(self._prepare(row))
        self._preparing[task] = row
        task.add_done_callback(self._finish_preparation)

    async def close(self) -> None:
        """Release the rows in memory."""
        preparing = dict(self._preparing)
        for task in preparing:
            task.cancel()
        await asyncio.gather(*preparing, return_exceptions=True)
        for row in preparing.values():
            self._preparer.release(row)
        for rows in self._ready.values():
            for _, row in rows:
                self._preparer.release(row)
            rows.clear()

    def _refill(self) -> None:
        self._add_returned()
        for group in list(self._last_read):
            if self._count(group) > _MAX_ROWS_PER_GROUP // 2:
                continue
            rows = self._store.pending_rows(
                group, after=self._last_read[group], limit=_MAX_ROWS_PER_GROUP
            )
            if not rows:
                del self._last_read[group]
                continue
            self._last_read[group] = rows[-1].index
            for row in rows:
                if row.index not in self._added:
                    self._take_over(row)

    def _add_returned(self) -> None:
        """Take the rows that have waited for another one, as far as there is room for them."""
        for group in self._waiting.returned_groups:
            while self._count(group) < _MAX_ROWS_PER_GROUP:
                returned = self._waiting.pop(group)
                if returned is None:
                    break
                self.add(
                    self._store.pending_row(returned) if isinstance(returned, int) else returned
                )

    def _count(self, group: str) -> int:
        preparing = sum(row.group == group for row in self._preparing.values())
        return len(self._ready[group]) + preparing

    async def _prepare(self, row: PendingRow) -> None:
        prepared = await self._preparer.prepare(row)
        if prepared is not None:
            self.put_back(prepared)

    def _finish_preparation(self, task: asyncio.Task[None]) -> None:
        del self._preparing[task]
        self._on_prepared()
