"""The engine of a batch: an event loop that works at the speed of the quota."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.batch.execution.claims import RowClaims
from airflow_provider_flux.batch.execution.context import BatchContext, StopSubmittingError
from airflow_provider_flux.batch.execution.inspect import CheckOptions, Inspector
from airflow_provider_flux.batch.execution.land import Lander
from airflow_provider_flux.batch.execution.prepare import Preparer
from airflow_provider_flux.batch.execution.queue import RowQueue
from airflow_provider_flux.batch.execution.quota_share import QuotaChange, QuotaShare
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets, RowBudgets
from airflow_provider_flux.batch.execution.stop import StopRequest
from airflow_provider_flux.batch.execution.submit import Submitter
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.schedule.circuit_breaker import CircuitBreaker
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.batch.survey import ROUNDING_ERROR, OnBudget
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
)
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.resume_policy import OnUncertain
from airflow_provider_flux.observability import metrics

log = logging.getLogger(__name__)

#: Results that may wait for the object store, for each slot of the quota. With more of them nothing
#: is submitted.
_MAX_LANDING_PER_SLOT = 2
#: Rows in work while submits of an earlier try are resumed, for each slot of the quota.
_MAX_RESUMED_PER_SLOT = 2
#: Longest wait before the loop looks for rows again.
_MAX_WAIT_SECONDS = 5.0
_BUDGET_ERRORS = (FluxBudgetError, FluxInsufficientCreditsError)


@dataclass(frozen=True)
class EngineOptions:
    """The choices of the user that concern rows in work.

    :param on_uncertain: whether a row is submitted again if the answer to its submit is lost.
    :param timeout: seconds from the submit of a row after which the try stops waiting for it;
        ``None`` for the default of its model.
    :param poll_interval: seconds between two polls of BFL's documented loop. The schedule of a
        model makes about as many polls, at the times at which its generations usually end.
    :param checks: checks of the results.
    :param max_rerolls: further submits of a row whose image a check rejected.
    :param on_budget: whether the end of ``max_cost`` or of the balance is an error.
    """

    on_uncertain: OnUncertain = "fail"
    timeout: float | None = None
    poll_interval: float = 0.5
    checks: CheckOptions = field(default_factory=CheckOptions)
    max_rerolls: int = 0
    on_budget: OnBudget = "fail"


@dataclass(frozen=True)
class Engine:
    """Engine that works through the rows of a batch, once.

    It runs on an event loop in a thread of its own. Any other thread may read its counters and
    call :meth:`stop`.

    :param hook: hook of the connection.
    :param store: the rows of the batch, planned by their submits in earlier tries.
    :param journal: journal of the submits. The engine closes it.
    :param counters: counts and cost of the batch.
    :param limiter: decides how many generations may be active.
    :param options: choices of the user.
    :param before_submits: awaited before the first submit, while submits of earlier tries are
        resumed. It returns the reason not to submit, or ``None``. ``None`` if nothing has to be
        awaited.
    :param keeper: keeps the entry of the batch in the quota of the account; ``None`` without
        ``account_path``.
    :param budgets: budgets of the account; ``None`` if none limits the batch.
    """

    hook: FluxHook
    store: RowStore
    journal: Journal
    counters: Counters
    limiter: ConcurrencyLimiter
    options: EngineOptions
    before_submits: Callable[[], Awaitable[FluxError | None]] | None = None
    keeper: QuotaKeeper | None = None
    budgets: BatchBudgets | None = None
    _stop: StopRequest = field(default_factory=StopRequest)
    _changes: deque[QuotaChange] = field(default_factory=deque)

    @property
    def active(self) -> int:
        """The number of active generations, as far as it is known."""
        return self.limiter.active

    @property
    def error(self) -> FluxError | None:
        """The error that ended the batch before all rows were tried; ``None`` if they were."""
        return self._stop.error

    def stop(self, grace: float, error: FluxError | None = None) -> None:
        """Submit nothing more. Any thread may call this, also before the engine runs.

        :param grace: seconds that rows in flight have to land. The journal has all others. With
            ``inf`` they have all the time they need, and submits of earlier tries are resumed.
        :param error: the error that ends the batch.
        """
        self._stop.make(grace, error)

    def change_quota(self, change: QuotaChange) -> None:
        """Change the limits. Any thread may call this, also before the engine runs.

        :param change: the limits from now on.
        """
        self._changes.append(change)
        self._stop.wake()

    async def run(self) -> None:
        """Submit, poll and land until all rows have ended, or the engine is stopped."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        with self._stop.waking(lambda: loop.call_soon_threadsafe(wake.set)):
            try:
                async with self.hook.async_client() as client:
                    context = BatchContext(
                        store=self.store,
                        counters=self.counters,
                        client=client,
                        journal=self.journal,
                        limiter=self.limiter,
                        breaker=CircuitBreaker(),
                        claims=RowClaims(
                            self.options.timeout, self.options.poll_interval, wake.set
                        ),
                        wake=wake.set,
                        budgets=RowBudgets(self.budgets, self.counters.max_active, wake.set),
                    )
                    work = EngineLoop(
                        context, self.hook, self.options, self._stop, wake, self.keeper
                    )
                    await work.run(self.before_submits, self._changes)
            finally:
                await self._close_journal()

    async def _close_journal(self) -> None:
        try:
            await self.journal.close()
        except FluxError as error:
            log.error("The end of the journal could not be written. %s", error)
            self._stop.make(0.0, error)


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
        self._trims = options.on_budget == "trim"
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
        self._share = QuotaShare(context, self._queue, stop, keeper)
        self._tasks: set[asyncio.Task[None]] = set()
        self._preparation: asyncio.Task[None] | None = None
        #: Models whose first submit BFL has not answered yet.
        self._first_submits: set[str] = set()

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
        counters, limiter = self._context.counters, self._context.limiter
        while self._can_submit():
            now = time.monotonic()
            row = self._queue.take(lambda group, now=now: limiter.can_submit(group, now))  # type: ignore[misc]
            if row is None:
                return
            if row.estimate is None and counters.max_cost is not None:
                self._context.end(row, "invalid", reason=_describe_unpriced(row, counters.max_cost))
                continue
            if not counters.can_afford(row.estimate) and row.rejected.count:
                self._context.end_without_reroll(row)
                continue
            if not counters.can_afford(row.estimate):
                self._queue.put_back(row)
                # A stop would hold back those that are on their way, and that fit.
                if not (self._trims and counters.reserved > ROUNDING_ERROR):
                    self._end_submits(_budget_error(counters, row))
                return
            if row.model in self._first_submits and counters.must_wait_for_price(row.model):
                self._queue.put_back(row)
                return
            if not self._take_from_budgets(row):
                return
            if counters.must_wait_for_price(row.model):
                self._first_submits.add(row.model)
            limiter.record_submit(row.group)
            counters.reserved += row.estimate or 0.0
            self._start(row)

    def _take_from_budgets(self, row: PendingRow) -> bool:
        """Reserve the credits of a row in the budgets of the account, and return whether it may go.

        If it may not, the row is put back or has ended.
        """
        budgets = self._context.budgets
        if budgets.take(row):
            return True
        if budgets.refusal is None:
            self._queue.put_back(row)
        elif row.rejected.count and isinstance(budgets.refusal, FluxBudgetError):
            self._context.end_without_reroll(row)
            self._wake.set()
        else:
            self._queue.put_back(row)
            self._end_submits(budgets.refusal)
        return False

    def _can_submit(self) -> bool:
        """Return whether anything may be submitted, whatever its limit group is."""
        context = self._context
        if self._stop.is_made or self._preparation:
            return False
        if self._lander.landing > _MAX_LANDING_PER_SLOT * context.counters.max_active:
            return False
        if not self._inspector.has_room(self._lander.landing + context.limiter.active):
            return False
        if not context.breaker.is_open:
            return True
        must_wait = context.breaker.seconds_until_retry(time.monotonic()) > 0
        return not must_wait and not context.limiter.unanswered

    def _end_submits(self, error: FluxError) -> None:
        """Submit nothing more. That the budget is used up is no error with ``on_budget="trim"``."""
        is_trim = self._trims and isinstance(error, _BUDGET_ERRORS)
        if is_trim:
            log.warning("The other rows stay pending (on_budget='trim'). %s", error.message)
        elif not self._stop.is_made and not isinstance(error, FluxBudgetError):
            log.error("No further row is submitted. %s", error)
        self._stop.make(float("inf"), None if is_trim else error)

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
            self._end_submits(request.error)
            if request.row is not None:
                self._queue.put_back(request.row)
        except Exception as error:  # a full disk, or a defect: every other row may meet it, too
            log.exception("No further row is submitted. Row %s failed", row.label)
            message = f"{type(error).__name__} at row {row.label}: see the log."
            self._stop.make(float("inf"), FluxBatchError(message))
            if isinstance(row, PendingRow):
                row.release()
        finally:
            self._first_submits.discard(row.model)

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


def _budget_error(counters: Counters, row: PendingRow) -> FluxBudgetError:
    return FluxBudgetError(
        f"max_cost={counters.max_cost:g} credits is reached: {counters.describe_spent('')} are "
        f"spent, and row {row.label} is expected to cost {row.estimate or 0:g}. Raise max_cost and "
        "clear the task: it submits the rows that are left."
    )


def _describe_unpriced(row: PendingRow, max_cost: float) -> str:
    return (
        f"The price of {row.request.model} is not known for this row, so max_cost={max_cost:g} "
        "cannot be kept. It was not submitted. Pass it to a batch without max_cost."
    )
