"""What the work on rows shares: where it is written down what becomes of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_policy import Outcome
from airflow_provider_flux.batch.row_store import Job, RowStore
from airflow_provider_flux.batch.schedule.circuit_breaker import CircuitBreaker
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxConfigurationError,
    FluxError,
    FluxInsufficientCreditsError,
)
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_entries import phase_entry

log = logging.getLogger(__name__)

#: What every other row would fail with too.
ENDS_THE_BATCH = (FluxAuthenticationError, FluxInsufficientCreditsError, FluxConfigurationError)
#: Rows of each outcome that are told in the log one by one; the manifest has them all.
_TOLD = 20

#: ``again``: the row goes back into the queue. ``paid``: it is to be collected.
Step = Literal["done", "again", "paid"]


class GiveUpError(Exception):
    """There is no use in submitting further rows.

    :param step: what is to be done about this one.
    """

    def __init__(self, error: FluxError, step: Step) -> None:
        super().__init__(error.message)
        self.error = error
        self.step = step


@dataclass
class BatchState:
    """What the work on all rows shares.

    :param wake: called when another row may perhaps be submitted.
    """

    client: FluxAsyncClient
    table: RowStore
    journal: Journal
    tally: Counters
    pacer: ConcurrencyLimiter
    outage: CircuitBreaker
    wake: Callable[[], None]
    _told: Counter[Outcome] = field(default_factory=Counter)

    def end(
        self, job: Job, outcome: Outcome, *, reason: str = "", latency: float | None = None
    ) -> Step:
        """Keep what became of a row."""
        job.release()
        self.table.end(job, outcome, reason=reason, latency=latency)
        self.tally.outcomes[outcome] += 1
        self._told[outcome] += bool(reason)
        if reason and self._told[outcome] <= _TOLD:
            log.warning("Row %d (%s) is %s: %s", job.n, job.key, outcome, reason)
        elif reason and self._told[outcome] == _TOLD + 1:
            log.warning("Further rows that are %s are told in the manifest only", outcome)
        return "done"

    def note_failed(self, job: Job, error: FluxError) -> None:
        """Write down that a submit came to nothing."""
        self.journal.append_soon(
            phase_entry(str(job.claim), job.key, "failed", generation=job.generation, error=error)
        )
        job.claim = None

    def charge(self, generation: Generation, sign: int) -> None:
        """Count what was paid for a generation; or give it back, with the sign -1."""
        cost = generation["cost"]
        self.tally.charge(
            None if cost is None else sign * cost,
            is_reported=generation["cost_source"] == "reported",
        )
