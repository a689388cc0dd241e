"""Submitting a row: its intent first, one POST, and what the answer means."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from airflow_provider_flux.batch.execution.context import (
    ENDS_THE_BATCH,
    BatchState,
    GiveUpError,
    Step,
)
from airflow_provider_flux.batch.row_store import Job
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxConnectionError,
    FluxError,
    FluxRateLimitedError,
    FluxRequestError,
    FluxServiceError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.configured_models import typical_seconds
from airflow_provider_flux.generation import new_generation
from airflow_provider_flux.ledger.journal_entries import intent_entry, phase_entry
from airflow_provider_flux.ledger.resume_policy import OnUncertain

log = logging.getLogger(__name__)

#: Times one row is submitted in one try although each answer was lost before.
_MOST_UNCERTAIN = 3
#: Images of which the mean latency counts, and the seconds that are assumed where nothing is known of a model.
_LATELY = 24
_USUALLY = 6.0


class Submitter:
    """Submits rows, any number at a time.

    :param is_stopping: says whether nothing more is to be submitted.
    """

    def __init__(
        self, state: BatchState, on_uncertain: OnUncertain, is_stopping: Callable[[], bool]
    ) -> None:
        self._state = state
        self._on_uncertain = on_uncertain
        self._is_stopping = is_stopping

    async def submit(self, job: Job) -> Step:
        """Submit a row, for which a slot has been taken.

        :raises GiveUpError: if no further row should be submitted.
        """
        try:
            return await self._submit_row(job)
        finally:
            self._state.tally.reserved -= job.estimate or 0.0

    async def _submit_row(self, job: Job) -> Step:
        request, plan = job.ready
        note = intent_entry(
            request, index=job.n, key=job.key, row_fingerprint=job.wanted, facts=plan.request
        )
        claim = job.claim = str(note["claim"])
        try:
            await self._state.journal.append(note)
        except FluxError as error:
            self._not_sent(job, FluxError("Nothing was sent."))
            raise GiveUpError(error, "again") from None
        except (
            BaseException
        ):  # broken off: an intent that was written all the same would look like a submit
            self._not_sent(job, FluxError("Nothing was sent."))
            raise
        if self._is_stopping():
            self._not_sent(job, FluxError("Nothing was sent."))
            return "again"
        try:
            submission = await self._state.client.submit_once(request)
        except FluxSubmitUncertainError as error:
            return self._uncertain(job, error)
        except FluxError as error:
            return self._refused(job, error)
        except BaseException:  # the answer will not be waited for: it stays an intent
            self._state.pacer.record_dropped(job.kind)
            raise
        now = time.monotonic()
        job.generation = new_generation(request, submission, job.uncertain)
        self._state.journal.append_soon(
            phase_entry(claim, job.key, "submitted", generation=job.generation)
        )
        self._state.outage.record_answer()
        self._state.pacer.record_accepted(job.kind)
        self._state.tally.record_submit(now)
        self._state.charge(job.generation, 1)
        self._state.wake()
        self._state.table.submitted(job)
        return "paid"

    def _not_sent(self, job: Job, error: FluxError) -> None:
        self._state.pacer.record_dropped(job.kind)
        self._state.note_failed(job, error)

    def _refused(self, job: Job, error: FluxError) -> Step:
        """Go on after a submit that nothing was paid for."""
        now = time.monotonic()
        self._state.note_failed(job, error)
        if isinstance(error, FluxRateLimitedError):
            self._state.outage.record_answer()
            self._state.pacer.record_refused(job.kind, now, error.retry_after)
            self._state.tally.rate_limited += 1
            return "again"
        self._state.pacer.record_dropped(job.kind)
        if isinstance(error, (FluxConnectionError, FluxServiceError)):
            if self._state.outage.record_failure(error, now):
                raise GiveUpError(error, "again")
            log.warning("%s Trying again.", error)
            return "again"
        self._state.outage.record_answer()
        if isinstance(error, ENDS_THE_BATCH):
            raise GiveUpError(error, "again")
        return self._state.end(
            job,
            "invalid" if isinstance(error, FluxRequestError) else "failed",
            reason=error.message,
        )

    def _uncertain(self, job: Job, error: FluxSubmitUncertainError) -> Step:
        """Go on after a submit of which nobody knows whether it was billed: it counts as if it was."""
        now = time.monotonic()
        self._hold_slot(job)
        self._state.tally.uncertain_submits += 1
        self._state.tally.charge(job.estimate, is_reported=False)
        self._state.tally.add_waste(job.estimate)
        job.uncertain += 1
        job.lost_answers += 1
        job.claim = None
        is_hopeless = self._state.outage.record_failure(error, now)
        step: Step = "again"
        if self._on_uncertain == "fail" or job.lost_answers >= _MOST_UNCERTAIN:
            step = self._state.end(job, "uncertain", reason=error.message)
        else:
            self._state.table.submitted(job)
            log.warning(
                "Row %d (%s) was possibly billed, and is submitted again (on_uncertain='resubmit')",
                job.n,
                job.key,
            )
        if is_hopeless:  # for now; what was not submitted is left to a retry
            raise GiveUpError(
                FluxBatchError(f"Several submits in a row had no clear answer. {error.message}"),
                step,
            )
        return step

    def _hold_slot(self, job: Job) -> None:
        """Keep the slot of a submit whose answer was lost: its task may be active, for as long as tasks usually are."""
        state, kind = self._state, job.kind
        lately = state.tally.latencies[-_LATELY:]
        seconds = sum(lately) / len(lately) if lately else typical_seconds(job.model) or _USUALLY
        state.pacer.record_accepted(kind)

        def free() -> None:
            state.pacer.release_slot(kind)
            state.wake()

        asyncio.get_running_loop().call_later(seconds, free)
