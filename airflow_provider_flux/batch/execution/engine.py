"""The engine of a batch: it runs the loop, and other threads stop it or change its quota."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.batch.execution.claims import RowClaims
from airflow_provider_flux.batch.execution.context import BatchContext
from airflow_provider_flux.batch.execution.engine_loop import EngineLoop
from airflow_provider_flux.batch.execution.options import EngineOptions
from airflow_provider_flux.batch.execution.quota_share import QuotaChange
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets, RowBudgets
from airflow_provider_flux.batch.execution.stop import StopRequest
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.schedule.circuit_breaker import CircuitBreaker
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.ledger.journal import Journal

log = logging.getLogger(__name__)


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
