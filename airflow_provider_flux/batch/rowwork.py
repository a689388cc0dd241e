"""One row, from its submit to where its image lands."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_flux.batch.outage import Outage
from airflow_provider_flux.batch.pace import Pacer
from airflow_provider_flux.batch.planning import Outcome
from airflow_provider_flux.batch.polls import PollPlan
from airflow_provider_flux.batch.table import Job, Table
from airflow_provider_flux.batch.tally import Tally
from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxConfigurationError,
    FluxConnectionError,
    FluxError,
    FluxGenerationError,
    FluxInsufficientCreditsError,
    FluxModeratedError,
    FluxRateLimitedError,
    FluxRequestError,
    FluxServiceError,
    FluxStorageError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.responses import TaskResult
from airflow_provider_flux.client import FluxAsyncClient
from airflow_provider_flux.ledger.decisions import OnUncertain
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.notes import became, intent
from airflow_provider_flux.patience import default_timeout, typical_seconds
from airflow_provider_flux.storage.landing import FORGOTTEN, aland, landed_before
from airflow_provider_flux.stores import arun
from airflow_provider_flux.xcom import Generation, submission_of, submitted

log = logging.getLogger(__name__)

#: Times one row is submitted in one try although each answer was lost before.
_MOST_UNCERTAIN = 3
#: Seconds for which a fresh URL of a Ready image is asked for.
_REFRESH_SECONDS = 60.0
#: Images in a row that could not be landed, each after the patience of the store: what is paid for must land first.
_STORE_FAILURES = 3
#: Rows of each outcome that are told in the log one by one; the manifest has them all.
_TOLD = 20
_ENDS_THE_BATCH = (FluxAuthenticationError, FluxInsufficientCreditsError, FluxConfigurationError)

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
class RowWork:
    """Works on rows, any number at a time.

    :param is_stopping: says whether nothing more is to be submitted.
    :param wake: called when another row may perhaps be submitted.
    :param timeout: seconds from the submit of a row after which to give it up; ``None`` for what suits its model.
    """

    client: FluxAsyncClient
    table: Table
    journal: Journal
    tally: Tally
    pacer: Pacer
    outage: Outage
    on_uncertain: OnUncertain
    poll_interval: float
    timeout: float | None
    is_stopping: Callable[[], bool]
    wake: Callable[[], None]
    landing: int = 0
    _store_failures: int = 0
    _plans: dict[str, PollPlan] = field(default_factory=dict)
    _told: Counter[Outcome] = field(default_factory=Counter)

    async def work(self, job: Job) -> Step:
        """Submit a row, or take over what was submitted for it, and land its image.

        :raises GiveUpError: if no further row should be submitted.
        """
        is_taken_over = job.generation is not None
        if not is_taken_over:
            try:
                step = await self._buy(job)
            finally:
                self.tally.reserved -= job.estimate or 0.0
            if step != "paid":
                return step
        job.release()
        return await self._collect(job, is_taken_over)

    def end(self, job: Job, outcome: Outcome, *, reason: str = "", latency: float | None = None) -> Step:
        """Keep what became of a row."""
        job.release()
        self.tally.outcomes[outcome] += 1
        self.table.end(job, outcome, reason=reason, latency=latency)
        self._told[outcome] += bool(reason)
        if reason and self._told[outcome] <= _TOLD:
            log.warning("Row %d (%s) is %s: %s", job.n, job.key, outcome, reason)
        elif reason and self._told[outcome] == _TOLD + 1:
            log.warning("Further rows that are %s are told in the manifest only", outcome)
        return "done"

    async def _buy(self, job: Job) -> Step:
        request, target = job.ready
        hide = target.options.hide_prompt
        note = intent(request, index=job.n, key=job.key, wanted=job.wanted, hide_prompt=hide)
        claim = job.claim = str(note["claim"])
        try:
            await self.journal.note(note)
        except FluxError as error:
            self._not_sent(job, FluxError("Nothing was sent."))
            raise GiveUpError(error, "again") from None
        if self.is_stopping():
            self._not_sent(job, FluxError("Nothing was sent."))
            return "again"
        try:
            submission = await self.client.submit_once(request)
        except FluxSubmitUncertainError as error:
            return self._uncertain(job, error)
        except FluxError as error:
            return self._refused(job, error)
        except BaseException:  # the answer will not be waited for: it stays an intent
            self.pacer.dropped(job.kind, time.monotonic())
            raise
        now = time.monotonic()
        job.generation = submitted(request, submission, job.uncertain)
        self.journal.note_soon(became(claim, job.key, "submitted", generation=job.generation))
        self.table.submitted(job)
        self.outage.answered()
        self.pacer.accepted(job.kind, now)
        self.wake()
        self.tally.became_active(now)
        self._charge(job.generation, 1)
        return "paid"

    def _not_sent(self, job: Job, error: FluxError) -> None:
        self.pacer.dropped(job.kind, time.monotonic())
        self._note_failed(job, error)

    def _note_failed(self, job: Job, error: FluxError) -> None:
        self.journal.note_soon(became(str(job.claim), job.key, "failed", generation=job.generation, error=error))
        job.claim = None

    def _refused(self, job: Job, error: FluxError) -> Step:
        """Go on after a submit that nothing was paid for."""
        now = time.monotonic()
        self._note_failed(job, error)
        if isinstance(error, FluxRateLimitedError):
            self.outage.answered()
            self.pacer.refused(job.kind, now, error.retry_after)
            self.tally.refusals += 1
            return "again"
        self.pacer.dropped(job.kind, now)
        if isinstance(error, (FluxConnectionError, FluxServiceError)):
            if self.outage.failed(error, now):
                raise GiveUpError(error, "again")
            log.warning("%s Trying again.", error)
            return "again"
        self.outage.answered()
        if isinstance(error, _ENDS_THE_BATCH):
            raise GiveUpError(error, "again")
        return self.end(job, "invalid" if isinstance(error, FluxRequestError) else "failed", reason=error.message)

    def _uncertain(self, job: Job, error: FluxSubmitUncertainError) -> Step:
        """Go on after a submit of which nobody knows whether it was billed: it counts as if it was."""
        now = time.monotonic()
        self.pacer.dropped(job.kind, now)
        self.tally.uncertain_submits += 1
        self.tally.charge(job.estimate, is_reported=False)
        self.tally.lose(job.estimate)
        job.uncertain += 1
        job.claim = None
        is_hopeless = self.outage.failed(error, now)
        step: Step = "again"
        if self.on_uncertain == "fail" or job.uncertain >= _MOST_UNCERTAIN:
            step = self.end(job, "uncertain", reason=error.message)
        else:
            log.warning("Row %d (%s) was possibly billed, and is submitted again: %s", job.n, job.key, error)
        if is_hopeless:
            raise GiveUpError(error, step)
        return step

    async def _collect(self, job: Job, is_taken_over: bool) -> Step:
        generation = job.paid
        submission = submission_of(generation)
        plan = self._plan_of(generation["model"])
        try:
            poller = self._poller(generation, plan)
            try:
                result = await self.client.wait(poller, generation["polling_url"])
            finally:
                now = time.monotonic()
                self.pacer.ended(job.kind, now)
                self.tally.was_ended(now)
                self.wake()
            seconds = time.time() - submission.submitted_at
            if not is_taken_over:
                plan.observe(poller.pending_at - submission.submitted_at, seconds)
                self.tally.latencies.append(seconds)
            landed = await self._land(job, generation, result)
        except FluxError as error:
            return await self._failed(job, error, is_taken_over)
        self._store_failures = 0
        self._charge(generation, -1)
        self._charge(landed, 1)
        self.journal.note_soon(became(str(job.claim), job.key, "returned", generation=landed))
        job.generation = landed
        return self.end(job, "landed", latency=None if is_taken_over else seconds)

    async def _land(self, job: Job, generation: Generation, result: TaskResult) -> Generation:
        async def refresh() -> TaskResult:
            poller = self._poller(generation, self._plan_of(generation["model"]))
            poller.deadline = time.time() + _REFRESH_SECONDS
            return await self.client.wait(poller, generation["polling_url"])

        self.landing += 1
        try:
            return await aland(self.client, generation, job.ready[1], result, refresh)
        finally:
            self.landing -= 1

    async def _failed(self, job: Job, error: FluxError, is_taken_over: bool) -> Step:
        """Go on after an image that was paid for could not be had, or not yet."""
        generation = job.paid
        if isinstance(error, (FluxModeratedError, FluxGenerationError)):
            self._charge(generation, -1)
            self._note_failed(job, error)
            if job.fallback and not job.is_fallback:
                log.warning("Row %d (%s) is submitted with its fallback. %s", job.n, job.key, error)
                job.is_fallback, job.generation, job.request = True, None, None
                self.table.submitted(job)
                self.tally.fallbacks += 1
                return "again"
            outcome: Outcome = "moderated" if isinstance(error, FluxModeratedError) else "failed"
            return self.end(job, outcome, reason=error.message)
        if isinstance(error, FORGOTTEN):
            landed = await arun(landed_before(generation, job.ready[1])) if is_taken_over else None
            if landed:
                self.journal.note_soon(became(str(job.claim), job.key, "returned", generation=landed))
                job.generation = landed
                return self.end(job, "landed")
            self.tally.lose(generation["cost"])
            self._note_failed(job, error)
            return self.end(job, "lost", reason=error.message)
        step = self.end(job, "failed", reason=f"{error.message} It is paid for; the next try collects it.")
        self._store_failures += isinstance(error, FluxStorageError)
        if isinstance(error, _ENDS_THE_BATCH) or self._store_failures >= _STORE_FAILURES:
            raise GiveUpError(error, step)
        return step

    def _plan_of(self, model: str) -> PollPlan:
        if model not in self._plans:
            self._plans[model] = PollPlan(typical_seconds(model) or 6.0, self.poll_interval)
        return self._plans[model]

    def _poller(self, generation: Generation, plan: PollPlan) -> Poller:
        submission = submission_of(generation)
        now = time.time()
        timeout = self.timeout or default_timeout(generation["model"])
        return Poller(
            request_id=submission.request_id,
            submitted_at=submission.submitted_at,
            deadline=max(submission.submitted_at + timeout, now),
            poll_interval=self.poll_interval,
            cost=submission.cost,
            pace=plan.wait,
        )

    def _charge(self, generation: Generation, sign: int) -> None:
        cost = generation["cost"]
        self.tally.charge(None if cost is None else sign * cost, is_reported=generation["cost_source"] == "reported")
