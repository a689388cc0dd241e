"""Many rows at the speed of the quota: one event loop submits, polls and lands, with what is in flight in memory."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from airflow_provider_flux.batch.execution.context import BatchState, GiveUpError, Step
from airflow_provider_flux.batch.execution.land import Collector
from airflow_provider_flux.batch.execution.prepare import Preparer
from airflow_provider_flux.batch.execution.queue import RowQueue
from airflow_provider_flux.batch.execution.submit import Submitter
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_store import Job, RowStore
from airflow_provider_flux.batch.schedule.circuit_breaker import CircuitBreaker
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxBudgetError, FluxError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.resume_policy import OnUncertain

log = logging.getLogger(__name__)

#: Ready images that may wait for the object store, for each active task; beyond, nothing is submitted.
_LANDING = 2
#: Tasks of an earlier try that are collected at once, for each active task.
_TAKEN_OVER = 2
#: Longest seconds between two looks at what may be done.
_LOOK = 5.0


@dataclass
class Engine:
    """Work through the rows of a table.

    It runs on an event loop of its own, in a thread of its own; :meth:`stop` may be called from any other.

    :param timeout: seconds from the submit of a row after which to give it up; ``None`` for what suits its model.
    :ivar error: why it has ended before all rows were tried; ``None`` if they were.
    """

    hook: FluxHook
    table: RowStore
    journal: Journal
    tally: Counters
    pacer: ConcurrencyLimiter
    preparer: Preparer
    on_uncertain: OnUncertain = "fail"
    poll_interval: float = 0.5
    timeout: float | None = None
    error: FluxError | None = None

    def __post_init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outage = CircuitBreaker()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop_at: float | None = None

    async def run(self) -> None:
        """Submit, poll and land until all rows have ended, or it is stopped."""
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        kinds = self.table.kinds()
        self._open = [
            job
            for kind in kinds
            for job in self.table.to_do(kind, after=-1, limit=-1, is_open=True)
        ]
        self._queue = RowQueue(self.table, kinds, self._make, self._prepare, self._wake.set)
        try:
            async with self.hook.async_client() as client:
                state = BatchState(
                    client,
                    self.table,
                    self.journal,
                    self.tally,
                    self.pacer,
                    self._outage,
                    self._wake.set,
                )
                self._state = state
                self._submitter = Submitter(state, self.on_uncertain, lambda: self.is_stopping)
                self._collector = Collector(state, self.poll_interval, self.timeout)
                try:
                    while await self._go_on():
                        pass
                finally:
                    await self._end_tasks()
        finally:
            await self._queue.close()
            await self._close_journal()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is submitted."""
        return self._stop_at is not None

    @property
    def active(self) -> int:
        """Tasks that are active, as far as it is known."""
        return self.pacer.active

    def stop(self, grace: float, error: FluxError | None = None) -> None:
        """Submit nothing more; what is in flight has ``grace`` seconds to land, and is recorded in any case.

        What earlier tries have left in flight is collected if there is no end to ``grace``.
        """
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop, grace, error)
        else:
            self._stop_at, self.error = time.monotonic() + grace, error

    def _stop(self, grace: float, error: FluxError | None) -> None:
        stop_at = time.monotonic() + grace
        self._stop_at = stop_at if self._stop_at is None else min(self._stop_at, stop_at)
        self.error = self.error or error
        self._wake.set()

    async def _go_on(self) -> bool:
        """Start what may be started, and wait for something to happen; return whether there is anything left."""
        self._wake.clear()
        if self._stop_at is None or self._stop_at == float("inf"):
            self._take_over()
        self._submit()
        now = time.monotonic()
        if self._stop_at is not None and (not self._tasks or now >= self._stop_at):
            return False
        if not self._tasks and not self._open and self._queue.is_empty:
            return False
        waits = [
            _LOOK,
            self.pacer.seconds_until_submit(now),
            self._outage.seconds_until_retry(now) or None,
        ]
        if self._stop_at is not None:
            waits.append(self._stop_at - now)
        with suppress(TimeoutError):
            await asyncio.wait_for(
                self._wake.wait(), max(min(one for one in waits if one is not None), 0.001)
            )
        return True

    def _take_over(self) -> None:
        """Start to collect what earlier tries have submitted."""
        while self._open and len(self._tasks) < _TAKEN_OVER * self.tally.max_active:
            job = self._open.pop()
            self.preparer.make(job)
            now = time.monotonic()
            self.pacer.record_resumed(job.kind)
            self.tally.record_resumed(now)
            self._start(job)

    def _submit(self) -> None:
        while not self.is_stopping and self._collector.landing <= _LANDING * self.tally.max_active:
            now = time.monotonic()
            if self._outage.is_open and (
                self._outage.seconds_until_retry(now) or self.pacer.unanswered
            ):
                return
            job = self._queue.take(lambda kind, now=now: self.pacer.can_submit(kind, now))  # type: ignore[misc]
            if job is None:
                return
            if not self.tally.can_afford(job.estimate):
                self._queue.put_back(job)
                self._stop(float("inf"), _budget_error(self.tally, job))
                return
            self.pacer.record_submit(job.kind)
            self.tally.reserved += job.estimate or 0.0
            self._start(job)

    def _start(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    async def _run(self, job: Job) -> None:
        try:
            is_taken_over = job.generation is not None
            step: Step = "paid" if is_taken_over else await self._submitter.submit(job)
            if step == "paid":
                job.release()
                step = await self._collector.collect(job, is_taken_over=is_taken_over)
        except GiveUpError as trouble:
            if not self.is_stopping:
                log.error("No further row is submitted. %s", trouble.error)
            step = trouble.step
            self._stop(float("inf"), trouble.error)
        except Exception as error:  # a full disk, or a defect: every other row may meet it, too
            log.exception("No further row is submitted. Row %d (%s)", job.n, job.key)
            self._stop(
                float("inf"),
                FluxBatchError(f"{type(error).__name__} at row {job.n} ({job.key}): see the log."),
            )
            return
        if step == "again":
            self._queue.put_back(job)

    def _make(self, job: Job) -> bool:
        return self.preparer.make(job)

    async def _prepare(self, job: Job) -> bool:
        found = await self.preparer.look(job)
        if found is None:
            return True
        if found.outcome == "reused":
            self.tally.saved += job.estimate or 0.0
        self._state.end(job, found.outcome, reason=found.reason)
        return False

    async def _end_tasks(self) -> None:
        """Leave what has not landed in time to the next try; its record says what was paid."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            log.warning(
                "%d rows are in flight still. Their records say what was paid; a retry collects it",
                len(self._tasks),
            )
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close_journal(self) -> None:
        try:
            await self.journal.close()
        except FluxError as error:
            log.error("The end of the journal could not be written. %s", error)
            self.error = self.error or error


def _budget_error(tally: Counters, job: Job) -> FluxBudgetError:
    return FluxBudgetError(
        f"max_cost={tally.max_cost:g} credits is reached: {tally.spent:g} are spent, and row {job.n} ({job.key}) is "
        f"expected to cost {job.estimate or 0:g}. Raise max_cost and clear the task: it goes on with what is left."
    )
