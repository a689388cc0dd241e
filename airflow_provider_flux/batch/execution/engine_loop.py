"""The loop of a batch: it works on rows at the speed of the quota, until all of them have ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.batch.execution.admission import AdmissionControl
from airflow_provider_flux.batch.execution.context import BatchContext, StopSubmittingError
from airflow_provider_flux.batch.execution.inspect import Inspector
from airflow_provider_flux.batch.execution.land import Lander
from airflow_provider_flux.batch.execution.options import EngineOptions
from airflow_provider_flux.batch.execution.prepare import Preparer
from airflow_provider_flux.batch.execution.queue import RowQueue
from airflow_provider_flux.batch.execution.quota_share import QuotaChange, QuotaShare
from airflow_provider_flux.batch.execution.stop import StopRequest
from airflow_provider_flux.batch.execution.submit import Submitter
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.observability import metrics

log = logging.getLogger(__name__)

#: Rows in work while submits of an earlier try are resumed, for each slot of the quota.
_MAX_RESUMED_PER_SLOT = 2
#: Longest wait before the loop looks for rows again.
_MAX_WAIT_SECONDS = 5.0


class EngineLoop:
    """The loop of an engine, with the rows that are in work.

    :param context: shared context of the batch.
    :param hook: hook of the connection, which reads inputs.
    :param options: choices of the user.
    :param stop: request to stop.
    :param wake: set when another row may perhaps be submitted.
    :param keeper: keeps the entry of the batch in the quota of the account; ``None`` (default)
        without ``account_path``.
    """

    def __init__(
        self,
        context: BatchContext,
        hook: FluxHook,
        options: EngineOptions,
        stop: StopRequest,
        wake: asyncio.Event,
        keeper: QuotaKeeper | None = None,
    ) -> None:
        self._context = context
        self._stop = stop
        self._wake = wake
        self._submitter = Submitter(context, options.on_uncertain, stop)
        self._inspector = Inspector(context, options.checks)
        self._lander = Lander(
            context, options.poll_interval, options.timeout, self._inspector, options.max_rerolls
        )
        self._to_resume = deque(context.store.submitted_rows())
        for row in self._to_resume:
            context.claims.track_submitted(row)
        self._queue = RowQueue(
            context.store,
            context.store.open_groups(),
            Preparer(context, hook, claims=context.claims),
            wake.set,
            context.claims.waiting,
        )
        self._admission = AdmissionControl(
            context, self._queue, self._lander, self._inspector, stop, options.on_budget
        )
        self._share = QuotaShare(context, self._queue, stop, keeper)
        self._tasks: set[asyncio.Task[None]] = set()
        self._preparation: asyncio.Task[None] | None = None

    async def run(
        self,
        before_submits: Callable[[], Awaitable[FluxError | None]] | None = None,
        changes: deque[QuotaChange] | None = None,
    ) -> None:
        """Work until all rows have ended, or the stop is due.

        :param before_submits: awaited before the first submit; see :class:`Engine`.
        :param changes: changes of the limits, which other threads append; ``None`` for none.
        """
        if before_submits:
            self._preparation = asyncio.create_task(self._prepare(before_submits))
        self._share.start()
        self._context.store.group_commits()
        try:
            while True:
                self._wake.clear()
                while changes:
                    self._share.apply(changes.popleft())
                self._context.budgets.tick()
                self._start_resumes()
                self._start_submits()
                self._context.store.commit_if_due()
                if self._is_done():
                    return
                if self._stop.is_made:  # nothing more is submitted, so other tasks may submit it
                    await self._queue.close()
                await self._wait()
        finally:
            await self._close()

    async def _close(self) -> None:
        """Close all parts. An error of one keeps no other from it; it is raised at the end."""
        active = self._share.active
        async with AsyncExitStack() as closing:  # the last one comes first
            closing.callback(self._context.store.commit)
            closing.push_async_callback(self._inspector.close)
            closing.push_async_callback(self._context.claims.close)
            closing.push_async_callback(self._context.budgets.close)
            closing.push_async_callback(self._share.close, active)
            closing.push_async_callback(self._queue.close)
            closing.push_async_callback(self._cancel_tasks)
            if self._preparation:
                self._preparation.cancel()
                await asyncio.gather(self._preparation, return_exceptions=True)

    async def _prepare(self, before_submits: Callable[[], Awaitable[FluxError | None]]) -> None:
        try:
            refusal = await before_submits()
        except FluxError as error:
            refusal = error
        except Exception as error:
            log.exception("No row is submitted. The rows could not be prepared")
            refusal = FluxBatchError(f"{type(error).__name__}: see the log.")
        self._preparation = None
        if refusal:
            self._stop.make(float("inf"), refusal)
        self._wake.set()

    def _is_done(self) -> bool:
        """Return whether no row is in work, and none is to come."""
        deadline = self._stop.deadline
        if deadline is not None and time.monotonic() >= deadline:
            return True
        if self._tasks or (self._preparation and not self._stop.is_made):
            return False
        return self._stop.is_made or (not self._to_resume and self._queue.is_empty)

    async def _wait(self) -> None:
        """Wait until something happens, or time alone allows another submit."""
        now = time.monotonic()
        seconds = [
            _MAX_WAIT_SECONDS,
            self._context.limiter.seconds_until_submit(now),
            self._context.breaker.seconds_until_retry(now) or None,
            None if self._stop.deadline is None else self._stop.deadline - now,
        ]
        shortest = min(value for value in seconds if value is not None)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(shortest, 0.001)):
                await self._wake.wait()

    def _start_resumes(self) -> None:
        """Resume submits of earlier tries, unless there is no time for that."""
        counters, limiter = self._context.counters, self._context.limiter
        if not self._stop.has_no_deadline:
            return
        while self._to_resume and len(self._tasks) < _MAX_RESUMED_PER_SLOT * counters.max_active:
            row = self._to_resume.popleft()
            limiter.record_resumed(row.group)
            counters.record_resumed(time.monotonic())
            counters.metrics.count(metrics.RESUMED, row.model)
            self._start(row)

    def _start_submits(self) -> None:
        """Submit as many rows as the limits and the budget allow."""
        if self._preparation:
            return
        while row := self._admission.admit_next():
            self._start(row)

    def _start(self, row: PendingRow | SubmittedRow) -> None:
        task = asyncio.create_task(self._work_on(row))
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    async def _work_on(self, row: PendingRow | SubmittedRow) -> None:
        """Submit and land a row. What is to be submitted again goes back into the queue."""
        try:
            await self._submit_and_land(row)
        except StopSubmittingError as request:
            self._admission.end_submits(request.error)
            if request.row is not None:
                self._queue.put_back(request.row)
        except Exception as error:  # a full disk, or a defect: every other row may meet it, too
            log.exception("No further row is submitted. Row %s failed", row.label)
            message = f"{type(error).__name__} at row {row.label}: see the log."
            self._stop.make(float("inf"), FluxBatchError(message))
            if isinstance(row, PendingRow):
                row.release()
        finally:
            self._admission.forget_first_submit(row.model)

    async def _submit_and_land(self, row: PendingRow | SubmittedRow) -> None:
        accepted = await self._submitter.submit(row) if isinstance(row, PendingRow) else row
        if isinstance(accepted, PendingRow):
            self._queue.put_back(accepted)
        elif accepted is not None:
            fallback = await self._lander.land(accepted)
            if fallback is not None:
                self._queue.add(fallback)

    async def _cancel_tasks(self) -> None:
        """Leave the rows that have not landed in time to the next try."""
        if not self._tasks:
            return
        for task in self._tasks:
            task.cancel()
        log.warning(
            "%d rows are still in flight. The journal has their submits: a retry resumes them",
            len(self._tasks),
        )
        await asyncio.gather(*self._tasks, return_exceptions=True)
