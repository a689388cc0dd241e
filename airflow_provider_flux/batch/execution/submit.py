"""The submit of a row: record its intent, send one POST, handle the answer."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NoReturn

from airflow_provider_flux.batch.execution.context import (
    BATCH_ERRORS,
    BatchContext,
    StopSubmittingError,
    expected_latency,
)
from airflow_provider_flux.batch.execution.stop import StopRequest
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxConnectionError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRateLimitedError,
    FluxRequestError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.generation import Generation, new_generation
from airflow_provider_flux.ledger.journal_entries import intent_entry, phase_entry
from airflow_provider_flux.ledger.resume_policy import OnUncertain
from airflow_provider_flux.observability import metrics

log = logging.getLogger(__name__)

#: Submits of one row in one try, if the answer to each of them is lost.
_MAX_LOST_ANSWERS = 3
#: Latest images whose mean latency is expected of a generation whose answer was lost.
_MEAN_OVER_IMAGES = 24


class Submitter:
    """Submitter of pending rows, any number at a time.

    :param context: shared context of the batch.
    :param on_uncertain: whether a row is submitted again if the answer to its submit is lost.
    :param stop: request to stop. Once it is made, nothing more is submitted.
    """

    def __init__(self, context: BatchContext, on_uncertain: OnUncertain, stop: StopRequest) -> None:
        self._context = context
        self._on_uncertain = on_uncertain
        self._stop = stop
        #: Monotonic time of the first POST of each row that BFL has not accepted yet.
        self._first_posts: dict[int, float] = {}

    async def submit(self, row: PendingRow) -> SubmittedRow | PendingRow | None:
        """Submit a row for which a slot and its expected cost are reserved.

        :param row: a prepared row.
        :return: the row as BFL accepted it, or the row to submit again; ``None`` if it has ended,
            or waits for the image of another task.
        :raises StopSubmittingError: if no further row should be submitted.
        """
        try:
            return await self._submit(row)
        except asyncio.CancelledError:
            row.release()
            raise
        finally:
            self._context.counters.reserved -= row.estimate or 0.0
            self._context.budgets.release(row)

    async def _submit(self, row: PendingRow) -> SubmittedRow | PendingRow | None:
        if not await self._confirm_claim(row):
            return None
        claim = await self._record_intent(row)
        if self._stop.is_made:
            self._record_not_sent(row, claim)
            return row
        self._first_posts.setdefault(row.index, time.monotonic())
        request = row.request_to_submit
        try:
            submission = await self._context.client.submit_once(request)
        except FluxSubmitUncertainError as error:
            return self._handle_lost_answer(row, error)
        except FluxError as error:
            return self._handle_refusal(row, claim, error)
        except BaseException:  # cancelled without an answer: the entry stays an intent
            self._leave_without_answer(row)
            raise
        generation = new_generation(request, submission, row.uncertain_submits)
        # Reuse, and names with {fingerprint}, know the request of the row, whatever its seed.
        generation["fingerprint"] = row.request.fingerprint
        return self._handle_acceptance(row, claim, generation)

    async def _confirm_claim(self, row: PendingRow) -> bool:
        """Confirm that the row still has the claim of its image.

        :raises StopSubmittingError: if the store of the claims does not answer.
        """
        try:
            is_confirmed = await self._context.claims.confirm(row)
        except BaseException as error:
            self._context.limiter.record_dropped(row.group)
            if isinstance(error, FluxError):
                raise StopSubmittingError(error, row) from None
            raise
        if not is_confirmed:
            self._context.limiter.record_dropped(row.group)
            row.release()
        return is_confirmed

    async def _record_intent(self, row: PendingRow) -> str:
        """Record the intent of a submit, and return the id of the submit.

        :raises StopSubmittingError: if the intent cannot be recorded.
        """
        entry = intent_entry(
            row.request_to_submit,
            index=row.index,
            key=row.key,
            row_fingerprint=row.fingerprint,
            summary=row.plan_to_land.request,
            path=row.path,
        )
        claim = str(entry["claim"])
        try:
            await self._context.journal.append(entry)
        except FluxError as error:
            self._record_not_sent(row, claim)
            raise StopSubmittingError(error, row) from None
        except BaseException:
            # The intent may still be written. Without a further entry it would count as a submit.
            self._record_not_sent(row, claim)
            raise
        return claim

    def _record_not_sent(self, row: PendingRow, claim: str) -> None:
        self._context.limiter.record_dropped(row.group)
        self._context.record_failure(row, claim, FluxError("Nothing was sent."))

    def _handle_acceptance(
        self, row: PendingRow, claim: str, generation: Generation
    ) -> SubmittedRow:
        context = self._context
        context.journal.append_soon(phase_entry(claim, row.key, "submitted", generation=generation))
        context.breaker.record_answer()
        context.limiter.record_accepted(row.group)
        now = time.monotonic()
        context.counters.record_submit(now)
        context.charge(generation)
        context.budgets.settle(row, generation)
        sent = context.counters.metrics
        sent.count(metrics.SUBMITS, row.model)
        sent.count(metrics.CREDITS, row.model, generation["cost"])
        first_post = self._first_posts.pop(row.index, now)
        sent.record_duration(metrics.QUEUE, row.model, now - first_post)
        context.wake()
        row.release()
        submitted = row.accept(claim, generation)
        context.store.save(submitted)
        return submitted

    def _handle_refusal(self, row: PendingRow, claim: str, error: FluxError) -> PendingRow | None:
        """Go on after a submit that BFL does not bill."""
        context, now = self._context, time.monotonic()
        context.record_failure(row, claim, error)
        if isinstance(error, FluxRateLimitedError):
            context.breaker.record_answer()
            context.limiter.record_refused(row.group, now, error.retry_after)
            context.counters.rate_limited += 1
            context.counters.metrics.count(metrics.RATE_LIMITED, row.model)
            return row
        context.limiter.record_dropped(row.group)
        if isinstance(error, FluxConnectionError):
            if context.breaker.record_failure(error, now):
                raise StopSubmittingError(error, row)
            log.warning("%s Trying again.", error)
            return row
        context.breaker.record_answer()
        if isinstance(error, FluxInsufficientCreditsError) and row.rejected.count:
            context.end_without_reroll(row)
            return None
        if isinstance(error, BATCH_ERRORS):
            raise StopSubmittingError(error, row)
        is_invalid = isinstance(error, FluxRequestError)
        context.end(row, "invalid" if is_invalid else "failed", reason=error.message)
        return None

    def _handle_lost_answer(
        self, row: PendingRow, error: FluxSubmitUncertainError
    ) -> PendingRow | None:
        """Go on after a submit whose answer was lost. It counts as billed."""
        context = self._context
        self._hold_slot(row)
        context.budgets.lose(row)
        context.counters.record_lost_answer(row.estimate)
        context.counters.metrics.count(metrics.UNCERTAIN, row.model)
        must_stop = context.breaker.record_failure(error, time.monotonic())
        row = row.with_lost_answer()
        if self._on_uncertain == "fail" or row.lost_answers >= _MAX_LOST_ANSWERS:
            context.end(row, "uncertain", reason=error.message)
            if must_stop:
                _stop_after_lost_answers(error, None)
            return None
        context.store.save(row)
        log.warning(
            "Row %s was possibly billed, and is submitted again (on_uncertain='resubmit')",
            row.label,
        )
        if must_stop:
            _stop_after_lost_answers(error, row)
        return row

    def _leave_without_answer(self, row: PendingRow) -> None:
        """Leave a row whose submit was cancelled before its answer. It counts as billed."""
        context = self._context
        context.limiter.record_dropped(row.group)
        context.budgets.lose(row)
        context.counters.record_lost_answer(row.estimate)
        context.counters.metrics.count(metrics.UNCERTAIN, row.model)
        row = row.with_lost_answer()
        if self._on_uncertain == "resubmit":
            context.store.save(row)
        else:
            reason = "The try was stopped before BFL answered: the submit was possibly billed."
            context.end(row, "uncertain", reason=reason)

    def _hold_slot(self, row: PendingRow) -> None:
        """Keep the slot of a submit whose answer was lost, for as long as a generation takes.

        BFL may have accepted it. Another submit in its place would be refused then.
        """
        context, group = self._context, row.group
        latencies = context.counters.latencies[-_MEAN_OVER_IMAGES:]
        if latencies:
            seconds = sum(latencies) / len(latencies)
        else:
            seconds = expected_latency(row.request.model)
        context.limiter.record_accepted(group)

        def release() -> None:
            context.limiter.release_slot(group)
            context.wake()

        asyncio.get_running_loop().call_later(seconds, release)


def _stop_after_lost_answers(error: FluxSubmitUncertainError, row: PendingRow | None) -> NoReturn:
    """End this try after too many lost answers. A retry submits the rows that were not tried."""
    raise StopSubmittingError(
        FluxBatchError(f"Several submits in a row had no clear answer. {error.message}"), row
    )
