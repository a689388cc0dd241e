"""Collecting what was submitted for a row: wait until it is ready, and land it."""

from __future__ import annotations

import asyncio
import logging
import time

from airflow_provider_flux.batch.execution.context import (
    ENDS_THE_BATCH,
    BatchState,
    GiveUpError,
    Step,
)
from airflow_provider_flux.batch.row_policy import Outcome
from airflow_provider_flux.batch.row_store import Job
from airflow_provider_flux.batch.schedule.poll_times import PollSchedule
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxExistsError,
    FluxGenerationError,
    FluxImageError,
    FluxModeratedError,
    FluxStorageError,
    FluxTimeoutError,
    FluxTransientError,
)
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.configured_models import default_timeout, typical_seconds
from airflow_provider_flux.generation import Generation, submission_of
from airflow_provider_flux.landing.land import RESULT_GONE, find_landed, land_async
from airflow_provider_flux.ledger.journal_entries import phase_entry
from airflow_provider_flux.object_store.filesystem import run_async

log = logging.getLogger(__name__)

#: Seconds for which a fresh URL of a Ready image is asked for.
_REFRESH_SECONDS = 60.0
#: Seconds between attempts to land an image that is ready. Meanwhile it counts as landing, which holds submits back.
_PAUSES = (2.0, 10.0, 30.0)
#: Such delays that are told in the log.
_TOLD = 20
#: Images in a row that could not be landed after all that: what is paid for must land first.
_NOT_LANDED = 3


class Collector:
    """Waits for images and lands them, any number at a time.

    :param timeout: seconds from the submit of a row after which to give it up; ``None`` for what suits its model.
    :ivar landing: images that are ready and have not landed yet.
    """

    def __init__(self, state: BatchState, poll_interval: float, timeout: float | None) -> None:
        self._state = state
        self._poll_interval = poll_interval
        self._timeout = timeout
        self._plans: dict[str, PollSchedule] = {}
        self._not_landed = 0
        self._delays = 0
        self.landing = 0

    async def collect(self, job: Job, *, is_taken_over: bool) -> Step:
        """Wait for what was submitted for a row, and land it.

        :param is_taken_over: whether an earlier try has submitted it.
        :raises GiveUpError: if no further row should be submitted.
        """
        generation = job.paid
        submission = submission_of(generation)
        plan = self._plan_of(generation["model"])
        began = time.time()
        try:
            poller = self._poller(generation, plan)
            try:
                result = await self._state.client.wait(poller, generation["polling_url"])
            finally:
                now = time.monotonic()
                self._state.pacer.release_slot(job.kind)
                self._state.tally.record_end(
                    now, unseen=time.time() - max(poller.pending_at, began)
                )
                self._state.wake()
            seconds = time.time() - submission.submitted_at
            if not is_taken_over:
                plan.observe(poller.pending_at - submission.submitted_at, seconds)
                self._state.tally.latencies.append(seconds)
            landed = await self._land(job, generation, result)
        except FluxError as error:
            return await self._failed(job, error, is_taken_over)
        self._not_landed = 0
        self._state.charge(generation, -1)
        self._state.charge(landed, 1)
        self._state.journal.append_soon(
            phase_entry(str(job.claim), job.key, "returned", generation=landed)
        )
        job.generation = landed
        return self._state.end(job, "landed", latency=None if is_taken_over else seconds)

    async def _land(self, job: Job, generation: Generation, result: GenerationResult) -> Generation:
        async def refresh() -> GenerationResult:
            poller = self._poller(generation, self._plan_of(generation["model"]))
            poller.deadline = time.time() + _REFRESH_SECONDS
            return await self._state.client.wait(poller, generation["polling_url"])

        self.landing += 1
        try:
            for pause in _PAUSES:
                try:
                    return await land_async(
                        self._state.client, generation, job.ready[1], result, refresh
                    )
                except (FluxTransientError, FluxStorageError, FluxImageError) as error:
                    if _is_final(error, job):
                        raise
                    self._delays += 1
                    if self._delays <= _TOLD:
                        log.warning(
                            "Row %d (%s) has not landed yet, in %g s again. %s",
                            job.n,
                            job.key,
                            pause,
                            error,
                        )
                await asyncio.sleep(pause)
                result = await refresh()
            return await land_async(self._state.client, generation, job.ready[1], result, refresh)
        finally:
            self.landing -= 1
            self._state.wake()

    async def _failed(self, job: Job, error: FluxError, is_taken_over: bool) -> Step:
        """Go on after an image that was paid for could not be had, or not yet."""
        generation = job.paid
        if isinstance(error, (FluxModeratedError, FluxGenerationError)):
            self._state.charge(generation, -1)
            self._state.note_failed(job, error)
            if job.fallback and not job.is_fallback:
                log.warning("Row %d (%s) is submitted with its fallback. %s", job.n, job.key, error)
                job.is_fallback, job.generation, job.request = True, None, None
                self._state.table.submitted(job)
                self._state.tally.fallbacks += 1
                return "again"
            outcome: Outcome = "moderated" if isinstance(error, FluxModeratedError) else "failed"
            return self._state.end(job, outcome, reason=error.message)
        if isinstance(error, RESULT_GONE):
            landed = (
                await run_async(find_landed(generation, job.ready[1])) if is_taken_over else None
            )
            if landed:
                self._state.journal.append_soon(
                    phase_entry(str(job.claim), job.key, "returned", generation=landed)
                )
                job.generation = landed
                return self._state.end(job, "landed")
            self._state.tally.add_waste(generation["cost"])
            self._state.note_failed(job, error)
            return self._state.end(job, "lost", reason=error.message)
        said = f"{error.message} It is paid for: a retry, or `airflow flux recover`, collects it without paying again."
        step = self._state.end(job, "submitted", reason=said)
        self._not_landed += not (isinstance(error, FluxTimeoutError) or _is_final(error, job))
        if isinstance(error, ENDS_THE_BATCH) or self._not_landed >= _NOT_LANDED:
            raise GiveUpError(error, step)
        return step

    def _plan_of(self, model: str) -> PollSchedule:
        if model not in self._plans:
            self._plans[model] = PollSchedule(typical_seconds(model) or 6.0, self._poll_interval)
        return self._plans[model]

    def _poller(self, generation: Generation, plan: PollSchedule) -> Poller:
        submission = submission_of(generation)
        now = time.time()
        timeout = self._timeout or default_timeout(generation["model"])
        return Poller(
            request_id=submission.request_id,
            submitted_at=submission.submitted_at,
            deadline=max(submission.submitted_at + timeout, now),
            poll_interval=self._poll_interval,
            cost=submission.cost,
            pace=plan.seconds_until_poll,
        )


def _is_final(error: FluxError, job: Job) -> bool:
    """Whether an image is not landed because the operator was told so: that says nothing about the store."""
    is_mismatch = (
        isinstance(error, FluxImageError) and job.ready[1].target.options.on_mismatch == "fail"
    )
    return is_mismatch or isinstance(error, FluxExistsError)
