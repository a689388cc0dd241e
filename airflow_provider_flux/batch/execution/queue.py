"""The rows that wait for a slot: a few of each kind at hand, made ready before their turn comes."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection

from airflow_provider_flux.batch.row_store import Job, RowStore

#: Rows of one kind that are at hand. Those with inputs have them read, and lie on disk.
_AT_HAND = 16
_Heap = list[tuple[int, Job]]


class RowQueue:
    """Hands out rows in the order of the input, as far as the limits of their kinds allow.

    :param make: gives a row its request; returns whether ``prepare`` is needed too.
    :param prepare: makes a row ready; returns whether it is still to be submitted.
    :param on_ready: called when a row has become ready meanwhile.
    """

    def __init__(
        self,
        table: RowStore,
        kinds: Collection[str],
        make: Callable[[Job], bool],
        prepare: Callable[[Job], Awaitable[bool]],
        on_ready: Callable[[], None],
    ) -> None:
        self._table = table
        self._make = make
        self._prepare = prepare
        self._on_ready = on_ready
        self._last = dict.fromkeys(kinds, -1)
        self._ready: defaultdict[str, _Heap] = defaultdict(list)
        self._preparing: dict[asyncio.Task[None], Job] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no row is left."""
        return not self._last and not self._preparing and not any(self._ready.values())

    def take(self, may: Callable[[str], bool]) -> Job | None:
        """Return the next row of a kind that may be submitted; ``None`` if none is ready.

        :param may: says so of a kind.
        """
        self._refill()
        kinds = [kind for kind, jobs in self._ready.items() if jobs and may(kind)]
        if not kinds:
            return None
        first = min(kinds, key=lambda kind: self._ready[kind][0][0])
        job = heapq.heappop(self._ready[first])[1]
        self._refill()
        return job

    def put_back(self, job: Job) -> None:
        """Take back a row, which comes next of its kind; one without a request is made ready first."""
        if job.request is None:
            self._admit(job)
        else:
            heapq.heappush(self._ready[job.kind], (job.n, job))

    async def close(self) -> None:
        """Let go of the rows at hand."""
        for task in self._preparing:
            task.cancel()
        await asyncio.gather(*self._preparing, return_exceptions=True)
        for jobs in self._ready.values():
            for _, job in jobs:
                job.release()
            jobs.clear()

    def _refill(self) -> None:
        for kind in list(self._last):
            at_hand = len(self._ready[kind]) + sum(
                job.kind == kind for job in self._preparing.values()
            )
            if at_hand > _AT_HAND // 2:
                continue
            found = self._table.to_do(kind, after=self._last[kind], limit=_AT_HAND, is_open=False)
            if not found:
                del self._last[kind]
                continue
            self._last[kind] = found[-1].n
            for job in found:
                self._admit(job)

    def _admit(self, job: Job) -> None:
        if not self._make(job):
            self.put_back(job)
            return
        task = asyncio.create_task(self._make_ready(job))
        self._preparing[task] = job
        task.add_done_callback(self._prepared)

    async def _make_ready(self, job: Job) -> None:
        if await self._prepare(job):
            self.put_back(job)

    def _prepared(self, task: asyncio.Task[None]) -> None:
        del self._preparing[task]
        self._on_ready()
