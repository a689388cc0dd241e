"""Admission control of a batch: which row is submitted next, and what ends the submits."""

from __future__ import annotations

import logging
import time

from airflow_provider_flux.batch.execution.context import BatchContext
from airflow_provider_flux.batch.execution.inspect import Inspector
from airflow_provider_flux.batch.execution.land import Lander
from airflow_provider_flux.batch.execution.queue import RowQueue
from airflow_provider_flux.batch.execution.stop import StopRequest
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.batch.survey import ROUNDING_ERROR, OnBudget
from airflow_provider_flux.bfl.errors import (
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
)

log = logging.getLogger(__name__)

#: Results that may wait for the object store, for each slot of the quota. With more of them nothing
#: is submitted.
_MAX_LANDING_PER_SLOT = 2
_BUDGET_ERRORS = (FluxBudgetError, FluxInsufficientCreditsError)


class AdmissionControl:
    """Decides by the limits and the budgets which rows are submitted now.

    Use it on the event loop of the batch.

    :param context: shared context of the batch.
    :param queue: the rows that wait.
    :param lander: lands the results. If too many wait for it, nothing is submitted.
    :param inspector: checks the results. If it has no room, nothing is submitted.
    :param stop: request to stop.
    :param on_budget: whether the end of ``max_cost`` or of the balance is an error.
    """

    def __init__(
        self,
        context: BatchContext,
        queue: RowQueue,
        lander: Lander,
        inspector: Inspector,
        stop: StopRequest,
        on_budget: OnBudget,
    ) -> None:
        self._context = context
        self._queue = queue
        self._lander = lander
        self._inspector = inspector
        self._stop = stop
        self._trims = on_budget == "trim"
        #: Models whose first submit awaits its answer.
        self._first_submits: set[str] = set()

    def admit_next(self) -> PendingRow | None:
        """Take the next row out of the queue, and reserve its slot and its credits.

        Rows that cannot be paid end here. If the budget is used up, no further row is submitted.

        :return: the row, which the caller submits at once; ``None`` if none may be submitted now.
        """
        while self._is_open():
            row = self._take_row()
            if row is None:
                return None
            if self._end_unpayable(row):
                continue
            if not self._reserve_credits(row):
                return None
            if self._context.counters.must_wait_for_price(row.model):
                self._first_submits.add(row.model)
            self._context.limiter.record_submit(row.group)
            self._context.counters.reserved += row.estimate or 0.0
            return row
        return None

    def forget_first_submit(self, model: str) -> None:
        """Let other rows of a model go on, because the work on a row of it has ended.

        :param model: name of the model.
        """
        self._first_submits.discard(model)

    def end_submits(self, error: FluxError) -> None:
        """Submit nothing more. That the budget is used up is no error with ``on_budget="trim"``.

        :param error: the reason.
        """
        is_trim = self._trims and isinstance(error, _BUDGET_ERRORS)
        if is_trim:
            log.warning("The other rows stay pending (on_budget='trim'). %s", error.message)
        elif not self._stop.is_made and not isinstance(error, FluxBudgetError):
            log.error("No further row is submitted. %s", error)
        self._stop.make(float("inf"), None if is_trim else error)

    def _is_open(self) -> bool:
        """Return whether anything may be submitted, whatever its limit group is."""
        context = self._context
        if self._stop.is_made:
            return False
        if self._lander.landing > _MAX_LANDING_PER_SLOT * context.counters.max_active:
            return False
        if not self._inspector.has_room(self._lander.landing + context.limiter.active):
            return False
        if not context.breaker.is_open:
            return True
        must_wait = context.breaker.seconds_until_retry(time.monotonic()) > 0
        return not must_wait and not context.limiter.unanswered

    def _take_row(self) -> PendingRow | None:
        now, limiter = time.monotonic(), self._context.limiter
        return self._queue.take(lambda group: limiter.can_submit(group, now))

    def _end_unpayable(self, row: PendingRow) -> bool:
        """End a row that ``max_cost`` never allows, while others may go on.

        :return: whether the row has ended.
        """
        counters = self._context.counters
        if row.estimate is None and counters.max_cost is not None:
            self._context.end(row, "invalid", reason=_describe_unpriced(row, counters.max_cost))
            return True
        if not counters.can_afford(row.estimate) and row.rejected.count:
            self._context.end_without_reroll(row)
            return True
        return False

    def _reserve_credits(self, row: PendingRow) -> bool:
        """Reserve the credits of a row, and return whether it may be submitted.

        If it may not, the row is put back or has ended.
        """
        counters = self._context.counters
        if not counters.can_afford(row.estimate):
            self._queue.put_back(row)
            # A stop would hold back those that are on their way, and that fit.
            if not (self._trims and counters.reserved > ROUNDING_ERROR):
                self.end_submits(_budget_error(counters, row))
            return False
        if row.model in self._first_submits and counters.must_wait_for_price(row.model):
            self._queue.put_back(row)
            return False
        return self._take_from_budgets(row)

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
            self._context.wake()
        else:
            self._queue.put_back(row)
            self.end_submits(budgets.refusal)
        return False


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
