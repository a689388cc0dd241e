"""One image of one task, paid for at most once over all its tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError, FluxSubmitUncertainError
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation, describe_cost, new_generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.resume_policy import ResumePolicy, decide, describe_uncertain
from airflow_provider_flux.ledger.task_ledger import (
    StoredRecord,
    TaskLedger,
    is_open_for,
    open_ledger,
    open_record,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class TrackedSubmission:
    """What a try has paid for, or has taken over from an earlier one.

    :param log: logger of the task.
    :ivar generation: what was paid for, as far as it is known.
    :ivar entry: its record.
    :ivar is_recorded: whether a retry will find it.
    """

    def __init__(self, policies: ResumePolicy, log: Any) -> None:
        self._policies = policies
        self._log = log
        self._ledger: TaskLedger | None = None
        self._earlier: list[StoredRecord] = []
        self._is_posting = False
        self._is_killed = False
        self.generation: Generation | None = None
        self.entry: StoredRecord | None = None
        self.is_recorded = False

    @property
    def accepted(self) -> Generation:
        """What was paid for."""
        assert self.generation is not None  # noqa: S101 - asked for once it was submitted, or taken over
        return self.generation

    @property
    def record_uri(self) -> str | None:
        """The file of its record, which a trigger can reach; ``None`` if it has none."""
        return self.entry.uri if self.entry else None

    @property
    def may_resubmit(self) -> bool:
        """Whether a retry may submit again although the answer to the submit was lost."""
        return self._ledger is not None and self._policies.on_uncertain == "resubmit"

    @property
    def can_resume(self) -> bool:
        """Whether an earlier try has paid for something."""
        latest = self._latest_that_counts
        return latest is not None and (latest.record.is_open or latest.record.has_landed)

    @property
    def _latest_that_counts(self) -> StoredRecord | None:
        """The last record but for those that were refused: nothing came of them, and what was before them counts."""
        counting = [one for one in self._earlier if not one.record.was_refused]
        return counting[-1] if counting else None

    def read_earlier_tries(
        self, context: Context, folder: str | None, target: Target | None
    ) -> None:
        """Read what earlier tries have written down.

        :param folder: where the records are; ``None`` for the task state store, where there is one.
        :raises FluxLedgerError: if they cannot be read.
        :raises FluxStorageError: if it cannot be told whether there are any.
        """
        self._ledger = open_ledger(context, folder, target)
        if self._ledger is None:
            self._log.info(
                "No record is kept of what is submitted: that needs output_path, ledger_path or Airflow 3.3"
            )
            return
        self._earlier = self._ledger.read_records()

    def decide(self, fingerprint: str | None) -> Literal["submit", "resume", "return"]:
        """Decide what to do, and take over what an earlier try has paid for.

        :param fingerprint: of the request; ``None`` if an input of it is gone, and it cannot be told.
        :raises FluxSubmitUncertainError: if nobody knows what became of the last submit, and ``on_uncertain`` says
            ``fail``.
        :raises FluxLedgerError: if the request has changed, and ``on_change`` says ``fail``.
        """
        latest = self._latest_that_counts
        if self._ledger is None or latest is None:
            return "submit"
        decision = decide(
            latest.record,
            fingerprint=fingerprint,
            clear_id=self._ledger.clear_id,
            policies=self._policies,
        )
        if decision.action == "fail_uncertain":
            raise FluxSubmitUncertainError(
                f"{decision.warning} Nothing is submitted (on_uncertain='fail'): clear the task to accept a possible "
                "second charge."
            )
        if decision.action == "fail_changed":
            raise FluxLedgerError(f"{decision.warning} Nothing is submitted (on_change='fail').")
        if decision.warning:
            self._log.warning("%s Submitting anew.", decision.warning)
        if decision.action != "submit":
            self._take_over(latest)
        return decision.action

    def submit(
        self, hook: FluxHook, request: GenerationRequest, plan: LandingPlan | None, max_wait: float
    ) -> None:
        """Pay. The intent is written down before each POST, and the answer right after it.

        :param max_wait: seconds to wait for a free slot of the account.
        """
        self._log.info("Submitting to %s: %s", request.model, estimate_cost(request))
        observer = _SubmitRecorder(
            claim=partial(self._claim, request, plan, hook.flux_conn_id),
            record_refusal=self._write_down_refusal,
        )
        submission = hook.submit(request, max_wait=max_wait, observer=observer)
        uncertain = sum(one.record.is_uncertain for one in self._earlier)
        self.generation, self._is_posting = new_generation(request, submission, uncertain), False
        self.ensure_recorded()
        self._log.info(
            "Submitted request %s to %s (%s), to be polled at %s",
            submission.request_id,
            request.model,
            describe_cost(self.generation),
            submission.polling_url,
        )

    def _claim(
        self, request: GenerationRequest, plan: LandingPlan | None, flux_conn_id: str
    ) -> None:
        """Record the intent of a POST.

        :raises FluxError: if the task was killed while it waited for a free slot, or the ledger cannot be written.
        """
        if self._is_killed:
            raise FluxError("The task was killed. Nothing was sent.")
        if self._ledger and self.entry:
            self._ledger.claim_again(self.entry)
        elif self._ledger:
            latest = self._earlier[-1] if self._earlier else None
            self.entry = self._ledger.claim(request, plan, flux_conn_id=flux_conn_id, latest=latest)
        self._is_posting = True

    def ensure_recorded(self) -> None:
        """Write down what was submitted, unless it is."""
        if self.entry and self.generation and not self.is_recorded:
            self.is_recorded = self.entry.write_or_warn("submitted", generation=self.generation)

    def resume_deferred(
        self, context: Context, uri: str | None, folder: str | None, target: Target | None
    ) -> None:
        """Find the record of what a task deferred for. If it cannot be read, the image must not be lost for that.

        It may say more than the task knows: that the image has landed, though no trigger came to tell. It may say
        less: that it was submitted is written down again.
        """
        try:
            if uri:
                self.entry = open_record(uri, target)
            elif ledger := open_ledger(context, folder, target):
                self.entry = ledger.find_record(self.accepted)
        except FluxError as error:
            self._log.warning(
                "The record of request %s cannot be read. %s", self.accepted["request_id"], error
            )
            self.is_recorded = True  # no try submits without having read it
        if self.entry is None:
            return
        record = self.entry.record
        if is_open_for(record, self.accepted) and record.is_uncertain:
            self.ensure_recorded()
        elif record.generation and record.accepted["request_id"] == self.accepted["request_id"]:
            self.is_recorded = True
            self.generation = record.accepted if record.has_landed else self.generation

    def with_recorded_request(self, plan: LandingPlan | None) -> LandingPlan | None:
        """Return the plan with the request that an earlier try submitted, which may be another one."""
        if plan is None or self.entry is None:
            return plan
        record = self.entry.record
        if record.request is not None:
            return plan.with_request(record.request)
        if plan.request.fingerprint == record.fingerprint:
            return plan
        return plan.with_request(RequestSummary())

    @property
    def has_landed(self) -> bool:
        """Whether its record says that it has landed."""
        return self.is_recorded and self.entry is not None and self.entry.record.has_landed

    def mark_returned(self, generation: Generation) -> Generation:
        """Write down that the task hands on what it has paid for."""
        if self.entry and self.entry.record.phase != "returned":
            self.entry.write_or_warn("returned", generation=generation)
        return generation

    def mark_failed(self, error: FluxError) -> None:
        """Write down that there is nothing to collect."""
        if self.entry:
            self.entry.write_or_warn("failed", error=error)

    def stop(self) -> str | None:
        """Submit no more, and say what goes on; ``None`` if nothing was paid."""
        self._is_killed = True
        if self._is_posting:
            kept = (
                describe_uncertain(self.entry.record)
                if self.entry
                else "The request was possibly billed."
            )
            return f"Killed during the submit. {kept}"
        if self.generation is None:
            return None
        return f"Killed. BFL has no cancel: request {self.generation['request_id']} goes on and is billed."

    def _take_over(self, entry: StoredRecord) -> None:
        self.entry, self.generation, self.is_recorded = entry, entry.record.accepted, True
        self._log.info(
            "Try %s submitted request %s at %s (%s). It is taken over, and nothing is submitted",
            entry.record.owner.try_number,
            self.accepted["request_id"],
            self.accepted["submitted_at"],
            describe_cost(self.accepted),
        )

    def _write_down_refusal(self, error: BaseException) -> None:
        self._is_posting = False
        if self.entry:
            refusal = (
                error
                if isinstance(error, FluxError)
                else FluxError(f"{type(error).__name__}: nothing was sent.")
            )
            self.entry.write_or_warn("failed", error=refusal)


@dataclass(frozen=True)
class _SubmitRecorder:
    """The observer that records each POST of a task in its ledger."""

    claim: Callable[[], None]
    record_refusal: Callable[[BaseException], None]

    def before_post(self) -> None:
        """Record the intent."""
        self.claim()

    def after_refusal(self, error: BaseException) -> None:
        """Record that nothing was billed.

        :param error: the reason.
        """
        self.record_refusal(error)
