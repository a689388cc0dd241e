"""The budgets of the account while a batch works: blocks are renewed beside the submits."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from airflow_provider_flux.account.budgets.account_budgets import AccountBudgets
from airflow_provider_flux.account.budgets.holder import BlockHolder, Reservation
from airflow_provider_flux.account.budgets.state import EPSILON
from airflow_provider_flux.account.prices import counted_credits, expected_price
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.bfl.errors import FluxBudgetError, FluxError, FluxLedgerError
from airflow_provider_flux.generation import Generation, submitted_epoch

log = logging.getLogger(__name__)

#: Seconds to wait for credits that other tasks have reserved, before the batch ends.
_MAX_WAIT_SECONDS = 300.0
#: Seconds after which another task's first cost of a model is not awaited any more.
_MAX_PROBE_SECONDS = 20.0
_RETRY_SECONDS = 2.0
_PROBE_RETRY_SECONDS = 0.3
#: Seconds for the last write. Without it the block lapses, or a later try settles it.
_CLOSE_SECONDS = 15.0


@dataclass(frozen=True)
class BatchBudgets:
    """The budgets of the account for one try of a batch.

    :param account: the budgets that limit the task.
    :param ledger: id of the journal.
    :param holder: id of the try, by which the journal knows its submits.
    """

    account: AccountBudgets
    ledger: str
    holder: str


@dataclass(frozen=True)
class _NextRow:
    """The row for which the next write is made.

    :param index: its position in the input.
    :param model: its model.
    :param price: its expected price.
    """

    index: int
    model: str
    price: float


@dataclass(frozen=True)
class _RefusedRow:
    """The last row that was refused.

    :param index: its position in the input.
    :param credits: the credits that it needed.
    :param error: why it was refused.
    """

    index: int
    credits: float
    error: FluxBudgetError


class RowBudgets:
    """Reservations of the rows of one batch, on its event loop.

    :param budgets: the budgets; ``None`` if none limits the batch. Every row is allowed then.
    :param block: submits for which one write should suffice.
    :param wake: called when rows may be submitted that had to wait.
    :ivar refusal: why the last row was refused for good; ``None`` if it was not. After a
        :class:`~airflow_provider_flux.bfl.errors.FluxBudgetError` a cheaper row may still fit.
    """

    def __init__(
        self, budgets: BatchBudgets | None = None, block: int = 1, wake: Callable[[], object] = bool
    ) -> None:
        self._account = budgets.account if budgets else None
        self._wake = wake
        spender = budgets.account.spender.label if budgets else ""
        ledger, holder = (budgets.ledger, budgets.holder) if budgets else ("", None)
        self._holder = BlockHolder(ledger, spender, block, holder)
        self._taken: dict[int, Reservation] = {}
        self._task: asyncio.Task[None] | None = None
        self._next: _NextRow | None = None
        self._has_written = False
        self._is_closing = False
        #: Set when all submits were answered, or at the end: there is no reason to wait longer.
        self._answered = asyncio.Event()
        #: Why no row can be submitted any more, whatever it costs.
        self._failure: FluxError | None = None
        self._refused: _RefusedRow | None = None
        self.refusal: FluxError | None = None

    def take(self, row: PendingRow) -> bool:
        """Reserve the credits of a row, and return whether it may be submitted.

        If not, a write is on its way, or the answer to another row is awaited: the loop is woken
        then. If :attr:`refusal` is set, waiting does not help this row.

        :param row: a row that is about to be submitted.
        """
        self.refusal = None
        if self._account is None:
            return True
        now, price = time.monotonic(), expected_price(row.model, row.estimate)
        taken = self._holder.take(row.model, price, now)
        if taken is None:
            self._wait_or_refuse(row, price)
            return False
        if self._refused and taken.credits >= self._refused.credits:
            self._refused = None
        self._next = _NextRow(row.index, row.model, price)
        self._taken[row.index] = taken
        self.tick()
        return True

    def _wait_or_refuse(self, row: PendingRow, price: float) -> None:
        """Begin the write that a row needs, unless it awaits another answer or is refused."""
        refused = self._find_refused(row, price)
        if self._failure is not None:
            self.refusal = self._failure
        elif refused is not None:
            # The end of the batch would hold back the rows on their way, which fit. A row with
            # rejected images ends alone.
            if row.rejected.count or not self._taken:
                self.refusal = refused.error
        elif not self._holder.must_wait_for_probe(row.model):
            self._next = _NextRow(row.index, row.model, price)
            self._start()

    def _find_refused(self, row: PendingRow, price: float) -> _RefusedRow | None:
        """Return the refusal that holds for a row: its own, or for a reroll that of a cheaper row.

        Only rerolls are refused by that of another row. So a batch ends by a fresh answer alone.
        """
        refused = self._refused
        if refused is None or self._holder.price(row.model, price) < refused.credits - EPSILON:
            return None
        return refused if row.rejected.count or row.index == refused.index else None

    def settle(self, row: PendingRow, generation: Generation) -> None:
        """Count what BFL bills for an accepted row.

        :param row: the row.
        :param generation: the accepted request.
        """
        if taken := self._taken.pop(row.index, None):
            cost = generation["cost"]
            self._holder.settle(taken, taken.estimate if cost is None else cost)
            self._note_answer()

    def lose(self, row: PendingRow) -> None:
        """Count a row whose answer was lost as billed.

        :param row: the row.
        """
        if taken := self._taken.pop(row.index, None):
            self._holder.settle(taken, None)
            self._note_answer()

    def release(self, row: PendingRow) -> None:
        """Give back the credits of a row, unless they were settled.

        :param row: the row.
        """
        if taken := self._taken.pop(row.index, None):
            self._holder.release(taken)
            self._note_answer()
            self._wake()

    def _note_answer(self) -> None:
        if not self._taken:
            self._answered.set()

    def correct(self, old: Generation, new: Generation | None) -> None:
        """Count the final cost of a generation in place of the one after its submit.

        :param old: the generation as BFL accepted it.
        :param new: the generation as it ended; ``None`` if BFL charges nothing for it.
        """
        if self._account is None:
            return
        difference = (counted_credits(new) if new else 0.0) - counted_credits(old)
        age = time.time() - submitted_epoch(old)
        self._holder.adjust(difference, age, time.monotonic())

    def tick(self) -> None:
        """Renew the block if that is due."""
        price = self._next.price if self._next else 0.0
        if self._account and self._holder.is_renewal_due(time.monotonic(), price):
            self._start(only_if_used=True)

    async def close(self) -> None:
        """Settle the submits of this try, and return the rest of its block."""
        if self._account is None:
            return
        self._is_closing = True
        self._answered.set()
        task = self._task
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if task:  # a cancelled write may still reserve a block, which nobody would return
                    await asyncio.wait([task])
                await self._close(self._account)
        except Exception as error:  # all images have landed, or can be resumed
            log.warning(
                "The reserved credits of this try could not be returned (%s). A later try of the "
                "task settles them; without one they count as spent",
                str(error) or type(error).__name__,
            )

        finally:
            if task:
                task.cancel()

    async def _close(self, account: AccountBudgets) -> None:
        for taken in self._taken.values():  # their answers are not known
            self._holder.settle(taken, None)
        self._taken.clear()
        if not self._has_written and not self._holder.has_corrections:
            return
        if not self._has_written:  # only generations of earlier tries have changed
            await account.renew(self._holder.build_order(time.monotonic(), None, 0.0))
        await account.close(self._holder.build_last_order())

    def _start(self, *, only_if_used: bool = False) -> None:
        """Begin a write, unless one is on its way."""
        if self._task is None and self._failure is None and self._account is not None:
            self._task = asyncio.create_task(self._renew(self._account, only_if_used))
            self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()):
            self._failure = self._to_flux_error(error)
        self._wake()

    def _to_flux_error(self, error: BaseException) -> FluxError:
        if isinstance(error, FluxError):
            return error
        log.error("The budgets of the account could not be changed", exc_info=error)
        return FluxError(f"{type(error).__name__} at the budgets of the account: see the log.")

    async def _renew(self, account: AccountBudgets, only_if_used: bool) -> None:
        """Write until the next row fits, or is refused.

        :raises FluxError: if no row can be submitted any more.
        """
        began = time.monotonic()
        while True:
            row = None if only_if_used and not self._holder.was_used else self._next
            model, price = (row.model, row.price) if row else (None, 0.0)
            now = time.monotonic()
            order = self._holder.build_order(
                now, model, price, may_share_probe=now - began > _MAX_PROBE_SECONDS
            )
            self._has_written = True
            self._answered.clear()
            answer, refusal = await account.renew(order)
            if answer.is_superseded:
                raise FluxLedgerError(
                    "A later try of this task settled the reserved credits of this try, which "
                    "therefore submits nothing more."
                )
            self._holder.apply(order, answer, now)
            if refusal is None or self._fits() or self._is_closing:
                return
            if only_if_used:  # no row waits for it
                return
            is_waiting = refusal.can_wait or bool(self._taken)
            if refusal.error and not (is_waiting and now - began < _MAX_WAIT_SECONDS):
                self._refuse(row, refusal.error)
                return
            self._wake()
            await self._pause(_RETRY_SECONDS if refusal.error else _PROBE_RETRY_SECONDS)
            if self._fits() or self._is_closing:
                return

    async def _pause(self, seconds: float) -> None:
        """Wait for about so long, or until all submits were answered, or the batch ends."""
        pause = seconds * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._answered.wait()

    def _refuse(self, row: _NextRow | None, error: FluxBudgetError) -> None:
        if row is not None:
            credits_ = self._holder.price(row.model, row.price)
            self._refused = _RefusedRow(row.index, credits_, error)
        self._next = None  # no later write asks for it again

    def _fits(self) -> bool:
        """Whether the next row fits into what is reserved."""
        if self._next is None:
            return True
        return self._holder.can_take(self._next.model, self._next.price, time.monotonic())
