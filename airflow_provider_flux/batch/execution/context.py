"""The shared context of everyone who works on rows: client, stores, counters and limits."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_flux.batch.costs import credits_of, is_reported
from airflow_provider_flux.batch.execution.claims import RowClaims
from airflow_provider_flux.batch.execution.row_budgets import RowBudgets
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.schedule.circuit_breaker import CircuitBreaker
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxConfigurationError,
    FluxError,
    FluxInsufficientCreditsError,
)
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.configured_models import typical_seconds
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_entries import phase_entry
from airflow_provider_flux.observability import metrics

log = logging.getLogger(__name__)

#: Errors that every other row would meet, too.
BATCH_ERRORS = (FluxAuthenticationError, FluxInsufficientCreditsError, FluxConfigurationError)
#: End of the reason of a row that is not tried again, because its cost does not fit any more.
NO_ROOM_FOR_REROLL = (
    "It was not tried again: max_cost, a budget of the account or the balance has too little left "
    "beside the other rows."
)
#: Rows of one outcome that are logged one by one. The manifest has all of them.
_MAX_LOGGED_ROWS = 20
#: Latency of a model of which nothing is known.
_DEFAULT_LATENCY_SECONDS = 6.0


def expected_latency(model: str) -> float:
    """Return the seconds that a generation of a model usually takes.

    :param model: name of the model.
    """
    return typical_seconds(model) or _DEFAULT_LATENCY_SECONDS


class StopSubmittingError(Exception):
    """Raised when submitting further rows is of no use.

    :param error: the error that ends the batch.
    :param row: the row to submit again, if the batch goes on; ``None`` if it has ended.
    """

    def __init__(self, error: FluxError, row: PendingRow | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.row = row


@dataclass(kw_only=True)
class OutcomeRecorder:
    """Recorder of the rows that end: in the store, in the counters and in the log.

    :param store: all rows with their outcomes.
    :param counters: counts and cost of the batch.
    """

    store: RowStore
    counters: Counters
    _logged: Counter[RowOutcome] = field(default_factory=Counter)

    def end(
        self,
        row: PendingRow | SubmittedRow,
        outcome: RowOutcome,
        *,
        generation: Generation | None = None,
        reason: str = "",
        latency: float | None = None,
    ) -> None:
        """Store, count and log the outcome of a row, and release its inputs.

        :param row: the row in its last state.
        :param outcome: its outcome.
        :param generation: its last generation; ``None`` if BFL accepted none.
        :param reason: explanation of the outcome, for the manifest and the log.
        :param latency: seconds from the submit until the result was seen to be ready.
        """
        if isinstance(row, PendingRow):
            row.release()
        self.store.end(row, outcome, generation=generation, reason=reason, latency=latency)
        self.counters.outcomes[outcome] += 1
        self._count_outcome(row.model, outcome)
        if reason:
            self._log_outcome(row, outcome, reason)

    def _count_outcome(self, model: str, outcome: RowOutcome) -> None:
        self.counters.metrics.count(metrics.OUTCOMES, model, outcome=outcome)
        if outcome == "reused":
            self.counters.metrics.count(metrics.REUSED, model)

    def _log_outcome(
        self, row: PendingRow | SubmittedRow, outcome: RowOutcome, reason: str
    ) -> None:
        self._logged[outcome] += 1
        if self._logged[outcome] <= _MAX_LOGGED_ROWS:
            log.warning("Row %s is %s: %s", row.label, outcome, reason)
        elif self._logged[outcome] == _MAX_LOGGED_ROWS + 1:
            log.warning("Further %s rows are reported in the manifest only", outcome)


@dataclass(kw_only=True)
class BatchContext(OutcomeRecorder):
    """The shared context of one batch, on its event loop.

    :param client: client of the account.
    :param journal: journal of the submits.
    :param limiter: decides how many generations may be active.
    :param breaker: holds submits back while BFL cannot be reached.
    :param claims: claims of the images of rows in work.
    :param wake: makes the loop look for rows that may be submitted now.
    :param budgets: reservations in the budgets of the account.
    """

    client: FluxAsyncClient
    journal: Journal
    limiter: ConcurrencyLimiter
    breaker: CircuitBreaker
    claims: RowClaims
    wake: Callable[[], None]
    budgets: RowBudgets = field(default_factory=RowBudgets)

    def end(
        self,
        row: PendingRow | SubmittedRow,
        outcome: RowOutcome,
        *,
        generation: Generation | None = None,
        reason: str = "",
        latency: float | None = None,
    ) -> None:
        """Record the outcome of a row, and release the claim of its image.

        :param row: the row in its last state.
        :param outcome: its outcome.
        :param generation: its last generation; ``None`` if BFL accepted none.
        :param reason: explanation of the outcome, for the manifest and the log.
        :param latency: seconds from the submit until the result was seen to be ready.
        """
        super().end(row, outcome, generation=generation, reason=reason, latency=latency)
        self.claims.end(row.index, outcome)

    def end_without_reroll(self, row: PendingRow) -> None:
        """End a row as rejected whose next attempt cannot be paid.

        :param row: a row with rejected images.
        """
        reason = f"{row.rejected.reason} {NO_ROOM_FOR_REROLL}"
        self.end(row, "rejected", generation=row.rejected.generation, reason=reason)

    def record_failure(self, row: PendingRow | SubmittedRow, claim: str, error: FluxError) -> None:
        """Record in the journal that a submit gives no image.

        :param row: the row of the submit.
        :param claim: id of the submit.
        :param error: why it gives none.
        """
        generation = row.generation if isinstance(row, SubmittedRow) else None
        self.journal.append_soon(
            phase_entry(claim, row.key, "failed", generation=generation, error=error)
        )

    def charge(self, generation: Generation) -> None:
        """Count the cost of a generation.

        :param generation: a generation that BFL accepted.
        """
        cost = credits_of(generation)
        self.counters.charge(cost, is_reported=is_reported(generation))
        estimate = read_amount(generation["estimated_cost"])
        self.counters.record_price(generation["model"], cost, estimate)

    def refund(self, generation: Generation) -> None:
        """Take back the cost of a generation: BFL charges another amount for it, or none.

        :param generation: a generation whose cost was counted.
        """
        self.counters.charge(-credits_of(generation), is_reported=is_reported(generation))
