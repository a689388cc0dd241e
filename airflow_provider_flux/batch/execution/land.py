"""The landing of a submitted row: wait for its result, and store it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from airflow_provider_flux.batch.costs import credits_of
from airflow_provider_flux.batch.execution.context import (
    BATCH_ERRORS,
    NO_ROOM_FOR_REROLL,
    BatchContext,
    StopSubmittingError,
    expected_latency,
)
from airflow_provider_flux.batch.execution.inspect import (
    Inspection,
    Inspector,
    describe_rejected,
)
from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.batch.schedule.poll_times import PollSchedule
from airflow_provider_flux.bfl.errors import (
    FluxCheckError,
    FluxError,
    FluxExistsError,
    FluxGenerationError,
    FluxImageError,
    FluxModeratedError,
    FluxRejectedError,
    FluxStorageError,
    FluxTimeoutError,
    FluxTransientError,
)
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.configured_models import default_timeout
from airflow_provider_flux.generation import Generation, poller_for, submitted_epoch, wait_start
from airflow_provider_flux.landing.land import RESULT_GONE, find_landed, land_async
from airflow_provider_flux.ledger.journal_entries import phase_entry
from airflow_provider_flux.object_store.filesystem import run_near
from airflow_provider_flux.observability import metrics

log = logging.getLogger(__name__)

#: Seconds between attempts to land a result. Meanwhile it counts as landing, which holds submits
#: back.
_RETRY_SECONDS = (2.0, 10.0, 30.0)
#: Seconds in which BFL has to give a fresh URL of a result.
_REFRESH_SECONDS = 60.0
#: Failed attempts to land a result that are logged.
_MAX_LOGGED_RETRIES = 20
#: Results in a row that could not be landed, after which nothing more is submitted.
_MAX_NOT_LANDED = 3


class Lander:
    """Lander of submitted rows, any number at a time.

    :param context: shared context of the batch.
    :param poll_interval: seconds between two polls of BFL's documented loop. The schedule of a
        model makes about as many polls, at the times at which its generations usually end.
    :param timeout: seconds from the submit of a row after which the try stops waiting for it;
        ``None`` for the default of its model.
    :param inspector: checks the results.
    :param max_rerolls: further submits of a row whose image a check rejected.
    :ivar landing: number of results that are ready and have not landed yet.
    """

    def __init__(
        self,
        context: BatchContext,
        poll_interval: float,
        timeout: float | None,
        inspector: Inspector,
        max_rerolls: int,
    ) -> None:
        self._context = context
        self._inspector = inspector
        self._max_rerolls = max_rerolls
        self._metrics = context.counters.metrics
        self._poll_interval = poll_interval
        self._timeout = timeout
        #: Poll schedule and timeout of each model.
        self._waits: dict[str, tuple[PollSchedule, float]] = {}
        self._not_landed = 0
        self._retries = 0
        self.landing = 0

    async def land(self, row: SubmittedRow) -> PendingRow | None:
        """Wait for the result of a row, and land it.

        :param row: a row that this try or an earlier one submitted.
        :return: the fallback of the row, or another attempt at it, to be submitted; ``None`` if the
            row has ended.
        :raises StopSubmittingError: if no further row should be submitted.
        """
        inspection = self._inspector.begin(row)
        try:
            result, latency = await self._wait(row)
            generation = await self._land_result(row, result, inspection)
        except (FluxModeratedError, FluxGenerationError) as error:
            return self._handle_failed_generation(row, error)
        except RESULT_GONE as error:
            await self._handle_lost_result(row, error)
            return None
        except FluxError as error:
            self._leave_submitted(row, error)
            return None
        self._not_landed = 0
        self._correct_cost(row, generation)
        if inspection.rejection is not None:
            return self._handle_rejected(row, generation, inspection)
        self._end_landed(row, generation, latency, inspection.signature)
        return None

    def _correct_cost(self, row: SubmittedRow, generation: Generation) -> None:
        """Count the final cost of a generation in place of the one after its submit."""
        self._context.refund(row.generation)
        self._context.charge(generation)
        self._context.budgets.correct(row.generation, generation)
        difference = (generation["cost"] or 0) - (row.generation["cost"] or 0)
        self._metrics.count(metrics.CREDITS, row.model, difference)
        self._metrics.count(metrics.CREDITS_REFUNDED, row.model, -difference)

    async def _wait(self, row: SubmittedRow) -> tuple[GenerationResult, float | None]:
        """Wait for the result of a row.

        :return: the result, and the seconds since the submit if this try submitted the row.
        """
        context, generation = self._context, row.generation
        submitted_at = submitted_epoch(generation)
        schedule, _ = self._wait_of(generation["model"])
        poller = self._build_poller(row)
        began = time.time()
        try:
            result = await context.client.wait(poller, generation["polling_url"])
        finally:
            context.limiter.release_slot(row.group)
            unseen = time.time() - max(poller.pending_at, began)
            context.counters.record_end(time.monotonic(), unseen=unseen)
            context.wake()
        if row.is_resumed:
            return result, None
        latency = time.time() - submitted_at
        schedule.observe(poller.pending_at - submitted_at, latency)
        context.counters.latencies.append(latency)
        self._metrics.record_duration(metrics.GENERATION, row.model, latency)
        return result, latency

    async def _land_result(
        self, row: SubmittedRow, result: GenerationResult, inspection: Inspection
    ) -> Generation:
        """Land a result, with a fresh URL for each attempt."""

        async def refresh() -> GenerationResult:
            poller = self._build_poller(row)
            poller.deadline = time.time() + _REFRESH_SECONDS
            return await self._context.client.wait(poller, row.generation["polling_url"])

        async def land(result: GenerationResult) -> Generation:
            client, generation = self._context.client, row.generation
            inspect = inspection if self._inspector.has_checks else None
            return await land_async(client, generation, row.plan, result, refresh, inspect)

        self.landing += 1
        began = time.monotonic()
        try:
            for seconds in _RETRY_SECONDS:
                try:
                    landed = await land(result)
                    break
                except (FluxTransientError, FluxStorageError, FluxImageError) as error:
                    if _is_intended(error, row):
                        raise
                    self._log_retry(row, seconds, error)
                await asyncio.sleep(seconds)
                result = await refresh()
            else:
                landed = await land(result)
            self._metrics.record_duration(metrics.LANDING, row.model, time.monotonic() - began)
            return landed
        finally:
            self.landing -= 1
            self._context.wake()

    def _handle_failed_generation(self, row: SubmittedRow, error: FluxError) -> PendingRow | None:
        """Go on after BFL ended a generation without an image. It charges nothing."""
        context = self._context
        context.refund(row.generation)
        context.budgets.correct(row.generation, None)
        self._metrics.count(metrics.CREDITS_REFUNDED, row.model, row.generation["cost"])
        context.record_failure(row, row.claim, error)
        if row.fallback is None:
            outcome: RowOutcome = "moderated" if isinstance(error, FluxModeratedError) else "failed"
            context.end(row, outcome, generation=row.generation, reason=error.message)
            return None
        log.warning("Row %s is submitted with its fallback. %s", row.label, error)
        pending = context.store.builder.build_fallback(row, row.fallback)
        context.store.save(pending)
        context.counters.fallbacks += 1
        return pending

    def _handle_rejected(
        self, row: SubmittedRow, generation: Generation, inspection: Inspection
    ) -> PendingRow | None:
        """Try a row again whose image a check rejected, or end it.

        :raises StopSubmittingError: if the checks of many images in a row failed.
        """
        context, note = self._context, inspection.rejection
        assert note is not None  # noqa: S101 - it was rejected
        reason = describe_rejected(generation, note)
        error = (FluxCheckError if note.is_fault else FluxRejectedError)(reason)
        context.counters.add_waste(credits_of(generation))
        context.journal.append_soon(
            phase_entry(row.claim, row.key, "failed", generation=generation, error=error)
        )
        rejected = row.rejected.add(generation, reason, is_attempt=not note.is_fault)
        if not note.is_fault and rejected.count <= self._max_rerolls:
            if context.counters.can_afford_reroll(row.estimate, context.store.pending_cost()):
                context.counters.rerolls += 1
                self._metrics.count(metrics.REROLLS, row.model)
                log.info("Row %s is submitted with another seed. %s", row.label, reason)
                return context.store.reroll(row, rejected)
            reason = f"{reason} {NO_ROOM_FOR_REROLL}"
        context.end(
            replace(row, rejected=rejected), "rejected", generation=generation, reason=reason
        )
        if fault := self._inspector.find_fault():
            raise StopSubmittingError(fault, None)
        return None

    async def _handle_lost_result(self, row: SubmittedRow, error: FluxError) -> None:
        """End a row whose result BFL does not keep any more. An earlier try may have landed it."""
        context = self._context
        landed = (
            await run_near(row.plan.target.path, find_landed(row.generation, row.plan))
            if row.is_resumed
            else None
        )
        if landed:
            self._end_landed(row, landed, None, None)
            return
        context.counters.add_waste(credits_of(row.generation))
        context.record_failure(row, row.claim, error)
        context.end(row, "lost", generation=row.generation, reason=error.message)

    def _leave_submitted(self, row: SubmittedRow, error: FluxError) -> None:
        """Leave a row to a retry: its result is not ready in time, or could not be landed.

        :raises StopSubmittingError: if other rows would fare no better.
        """
        reason = (
            f"{error.message} The generation is billed. A retry, or `airflow flux recover`, "
            "lands it without paying again."
        )
        self._context.end(row, "submitted", generation=row.generation, reason=reason)
        if not (isinstance(error, FluxTimeoutError) or _is_intended(error, row)):
            self._not_landed += 1
        if isinstance(error, BATCH_ERRORS) or self._not_landed >= _MAX_NOT_LANDED:
            raise StopSubmittingError(error, None)

    def _end_landed(
        self,
        row: SubmittedRow,
        generation: Generation,
        latency: float | None,
        signature: str | None,
    ) -> None:
        # A retry that does not know of it finds the image, or downloads it again for free.
        self._context.journal.append_later(
            phase_entry(row.claim, row.key, "returned", generation=generation, signature=signature)
        )
        self._context.end(row, "landed", generation=generation, latency=latency)

    def _log_retry(self, row: SubmittedRow, seconds: float, error: FluxError) -> None:
        self._retries += 1
        if self._retries <= _MAX_LOGGED_RETRIES:
            log.warning(
                "Row %s could not be landed, trying again in %g s. %s",
                row.label,
                seconds,
                error,
            )

    def _wait_of(self, model: str) -> tuple[PollSchedule, float]:
        """Return the schedule of a model, and the seconds after which the try gives up."""
        if model not in self._waits:
            schedule = PollSchedule(expected_latency(model), self._poll_interval)
            self._waits[model] = schedule, self._timeout or default_timeout(model)
        return self._waits[model]

    def _build_poller(self, row: SubmittedRow) -> Poller:
        generation = row.generation
        (schedule, timeout), now = self._wait_of(generation["model"]), time.time()
        return poller_for(
            generation,
            deadline=max(wait_start(generation, now) + timeout, now),
            poll_interval=self._poll_interval,
            pace=schedule.seconds_until_poll,
            hide_texts=row.plan.target.options.hide_prompt,
        )


def _is_intended(error: FluxError, row: SubmittedRow) -> bool:
    """Return whether the options of the user keep a result from landing, not its store."""
    options = row.plan.target.options
    is_mismatch = isinstance(error, FluxImageError) and options.on_mismatch == "fail"
    return is_mismatch or isinstance(error, FluxExistsError)
