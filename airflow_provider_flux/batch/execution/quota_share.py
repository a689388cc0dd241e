"""The part of a batch in the quota of its account, and what may change while it runs."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.account.governor.member import Usage
from airflow_provider_flux.account.governor.shares import QuotaLimits, Slots
from airflow_provider_flux.batch.execution.context import BatchContext
from airflow_provider_flux.batch.execution.queue import RowQueue
from airflow_provider_flux.batch.execution.stop import StopRequest

log = logging.getLogger(__name__)

#: Seconds for which generations keep their slots after a batch left them to the next try.
_LEFT_SECONDS = 30.0


@dataclass(frozen=True)
class QuotaChange:
    """A change of the limits of a running batch.

    :param max_active: generations that the batch may have active.
    :param of_account: generations that the account may have active.
    :param paused_by: what pauses the submits; ``None`` if nothing does.
    """

    max_active: int
    of_account: int
    paused_by: str | None = None


class QuotaShare:
    """The slots that a batch may use. Use it on the event loop of the batch.

    :param context: shared context of the batch.
    :param queue: the rows that wait.
    :param stop: request to stop.
    :param keeper: keeps the entry of the batch in the quota of the account; ``None`` without
        ``account_path``.
    """

    def __init__(
        self,
        context: BatchContext,
        queue: RowQueue,
        stop: StopRequest,
        keeper: QuotaKeeper | None,
    ) -> None:
        self._context = context
        self._queue = queue
        self._stop = stop
        self._keeper = keeper
        self._task: asyncio.Task[None] | None = None
        self._paused_by: str | None = None

    def start(self) -> None:
        """Enter the batch into the quota of the account."""
        if self._keeper:
            self._task = asyncio.create_task(self._keeper.run(self))

    async def close(self, active: Slots) -> None:
        """Give the slots of the batch back.

        :param active: slots of generations that go on at BFL.
        """
        if self._task is None or self._keeper is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._keeper.leave(active, _LEFT_SECONDS)

    def apply(self, change: QuotaChange) -> None:
        """Apply changed limits, and log what has changed.

        :param change: the limits from now on.
        """
        limiter, counters = self._context.limiter, self._context.counters
        if change.max_active != limiter.maximum:
            log.info("max_active is %d now, and was %d", change.max_active, limiter.maximum)
            limiter.resize(change.max_active)
            counters.max_active = change.max_active
        if self._keeper and self._keeper.limits.account != change.of_account:
            self._keeper.limits = QuotaLimits(change.of_account, self._keeper.limits.groups)
        if change.paused_by and not self._paused_by:
            log.warning(
                "Paused by %s: nothing is submitted until it ends. %d active generations land",
                change.paused_by,
                limiter.active,
            )
        elif self._paused_by and not change.paused_by:
            log.info("The pause has ended: rows are submitted again")
        self._paused_by = change.paused_by
        limiter.is_paused = change.paused_by is not None

    @property
    def active(self) -> Slots:
        """The slots of active generations."""
        limiter = self._context.limiter
        return Slots(total=limiter.active, groups=limiter.active_by_group)

    def usage(self) -> Usage:
        """Return the slots that the batch uses and could use."""
        active = self.active
        limiter, counters = self._context.limiter, self._context.counters
        if self._stop.is_made or limiter.is_paused:
            return Usage(active, active)
        most = limiter.maximum
        if self._context.breaker.is_open:  # one submit at a time tries the service, beside the rest
            most = min(active.total + 1, most)
        waiting = self._queue.waiting_rows(limiter.maximum)
        left = max(counters.rows - counters.done, 0)
        total = min(active.total + sum(waiting.values()), most, left)
        groups = {
            group: min(count + waiting.get(group, 0), total)
            for group, count in active.groups.items()
        }
        return Usage(active, Slots(total=max(total, active.total), groups=groups))

    def set_permit(self, permit: Slots) -> None:
        """Keep to a number of slots.

        :param permit: slots that the batch may use.
        """
        self._context.limiter.set_permit(permit.total, permit.groups)
        self._context.wake()

    def release_permit(self) -> None:
        """Go on without the quota of the account."""
        self._context.limiter.release_permit()
        self._context.wake()
