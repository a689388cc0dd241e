"""The submit of a task, of which BFL bills at most one over all tries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_flux.account.governor.single import slot_of_account
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxLedgerError,
    FluxModeratedError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation, describe_cost, new_generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.clear_id import COMMAND_CLEAR_ID
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.resume_policy import (
    Decision,
    ResumePolicy,
    decide,
    decide_without_records,
)
from airflow_provider_flux.ledger.submit_budget import (
    SubmitBudget,
    TaskBudgets,
    find_correction,
    open_task_budgets,
)
from airflow_provider_flux.ledger.submit_recorder import SubmitRecorder
from airflow_provider_flux.ledger.task_ledger import TaskLedger, find_record, open_ledger
from airflow_provider_flux.observability.generation_events import (
    SubmitEvents,
    record_resumed,
    record_returned,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class TrackedSubmission:
    """One submit of a task, tracked by the ledger of the task.

    A try either submits, or resumes the generation that an earlier try submitted:
    :meth:`read_earlier_tries`, :meth:`decide`, :meth:`submit`, then :meth:`mark_returned` or
    :meth:`mark_failed`. After a deferral it begins with :meth:`resume_deferred`.

    :param policies: the answers of the user where there is a choice.
    :param log: logger of the task.
    :param find_hook: returns the hook of the connection, for the budgets of the account. Without
        it, which is the default, no final cost is written to them.
    :ivar generation: the accepted request; ``None`` until BFL has answered.
    :ivar is_recorded: whether a retry will find the generation in the ledger.
    :ivar has_submitted: whether this phase of the task submitted the generation.
    """

    def __init__(
        self,
        policies: ResumePolicy,
        log: Any,
        find_hook: Callable[[], FluxHook] | None = None,
    ) -> None:
        self._find_hook = find_hook
        self._context: Any = None
        self._record_folder: str | None = None
        self._policies = policies
        self._log = log
        self._ledger: TaskLedger | None = None
        self._earlier: list[StoredRecord] = []
        self._stored: StoredRecord | None = None
        self._recorder: SubmitRecorder | None = None
        self._folder: str | None = None
        self._is_stopped = False
        self._has_lost_ledger = False
        self.generation: Generation | None = None
        self.is_recorded = False
        self.has_submitted = False

    @property
    def accepted(self) -> Generation:
        """The generation, once there is one: after :meth:`submit`, or after it was resumed."""
        assert self.generation is not None  # noqa: S101 - callers submit or resume first
        return self.generation

    @property
    def is_stopped(self) -> bool:
        """Whether the task was killed, so that it must not submit."""
        return self._is_stopped

    @property
    def record_uri(self) -> str | None:
        """The URI of the record; ``None`` if there is no record that a triggerer can reach."""
        return self._stored.uri if self._stored else None

    @property
    def has_landed(self) -> bool:
        """Whether the image has landed by its record."""
        return self.is_recorded and self._stored is not None and self._stored.record.has_landed

    @property
    def can_resume(self) -> bool:
        """Whether an earlier try submitted a generation that this try can resume or return."""
        latest = self._latest
        return latest is not None and (latest.record.is_in_flight or latest.record.has_landed)

    @property
    def may_resubmit(self) -> bool:
        """Whether a retry may submit again if the answer to the submit is lost."""
        return self._ledger is not None and self._policies.on_uncertain == "resubmit"

    def read_earlier_tries(
        self, context: Context, folder: str | None, target: Target | None
    ) -> None:
        """Read the records of earlier tries.

        :param context: the context of the running task.
        :param folder: folder of the records; ``None`` for the task state store, if Airflow has one.
        :param target: where the image lands, for the options of the writes.
        :raises FluxConfigurationError: if the store of ``folder`` cannot be used.
        :raises FluxLedgerError: if a record cannot be read.
        :raises FluxStorageError: if the store fails.
        """
        self._folder = target.folder if target else None
        self._context, self._record_folder = context, folder
        self._ledger = open_ledger(context, folder, target)
        if self._ledger is None:
            self._log.info(
                "This task keeps no record of its submits. Set output_path or ledger_path, or use "
                "Airflow 3.3 or newer"
            )
            return
        self._earlier = self._ledger.read_records()
        for stored in self._earlier:
            stored.resolve_lost_answer(is_written=True)
        self._join_clears(self._ledger)

    def _join_clears(self, ledger: TaskLedger) -> None:
        """Let a command and the task that has the same ledger be tries of one clear."""
        latest = self._latest
        if latest is None or latest.record.clear_id == ledger.clear_id:
            return
        if ledger.clear_id == COMMAND_CLEAR_ID:
            ledger.clear_id = latest.record.clear_id
        elif latest.record.clear_id == COMMAND_CLEAR_ID:
            latest.set_clear_id(ledger.clear_id)

    def decide(self, fingerprint: str | None) -> Literal["submit", "resume", "return"]:
        """Decide by the records of earlier tries, and resume a generation if there is one.

        :param fingerprint: fingerprint of the request; ``None`` if it is not known, because an
            input is gone.
        :return: ``submit`` a new request, ``resume`` a generation that has not landed, or
            ``return`` one that has.
        :raises FluxSubmitUncertainError: if the answer to the last submit is not known, and
            ``on_uncertain`` is ``fail``.
        :raises FluxLedgerError: if the request has changed, and ``on_change`` is ``fail``.
        """
        if self._ledger is None:
            return "submit"
        latest, decision = self._latest, self._decide(self._ledger, fingerprint)
        match decision.action:
            case "fail_uncertain":
                raise FluxSubmitUncertainError(
                    f"{decision.warning} Nothing is submitted (on_uncertain='fail'). Clear the "
                    "task to accept a possible second charge."
                )
            case "fail_changed":
                raise FluxLedgerError(
                    f"{decision.warning} Nothing is submitted (on_change='fail')."
                )
            case "submit":
                if decision.warning:
                    self._log.warning("%s This try submits a new request.", decision.warning)
            case "resume" | "return":
                assert latest is not None  # noqa: S101 - without a record, nothing is resumed
                self._resume(latest)
        return decision.action

    def _decide(self, ledger: TaskLedger, fingerprint: str | None) -> Decision:
        """Return the decision by the last record, or by the lack of one."""
        clear_id, latest = ledger.clear_id, self._latest
        if latest is not None:
            return decide(
                latest.record,
                fingerprint=fingerprint,
                clear_id=clear_id,
                policies=self._policies,
            )
        lost = None if self._earlier else ledger.find_lost_ledger()
        self._has_lost_ledger = lost is not None and lost.clear_id == clear_id
        return decide_without_records(lost, clear_id=clear_id, policies=self._policies)

    def submit(
        self,
        hook: FluxHook,
        request: GenerationRequest,
        plan: LandingPlan | None,
        max_wait: float,
        *,
        confirm: Callable[[], object] = lambda: None,
        priority: Priority = "normal",
    ) -> None:
        """Submit a request. **BFL bills this call.**

        The ledger records the intent before each POST, and the answer right after it.

        :param hook: hook of the connection to BFL.
        :param request: the request.
        :param plan: how the image is to land; ``None`` without ``output_path``.
        :param max_wait: seconds to wait for a free slot of the account.
        :param confirm: called before each POST; raises an error that forbids it. Does nothing by
            default.
        :param priority: priority among the tasks of the account.
        :raises FluxLedgerError: if another process submits for the same task at this moment.
        :raises FluxStorageError: if the intent cannot be written. Nothing is submitted then.
        :raises FluxError: as :meth:`~airflow_provider_flux.hooks.flux.FluxHook.submit` does.
        """
        self._log.info("Submitting to %s: %s", request.model, estimate_cost(request))
        latest = self._earlier[-1] if self._earlier else None
        number = self._ledger.next_number if self._ledger else 0
        budget = SubmitBudget(self._open_budgets(hook), request, number, max_wait)

        def confirm_all() -> None:
            budget.reserve()
            confirm()

        recorder = SubmitRecorder(
            self._ledger, latest, request, plan, hook.flux_conn_id, confirm_all
        )
        self._recorder = recorder
        if self._is_stopped:
            recorder.stop()
        uncertain = sum(stored.record.is_uncertain for stored in self._earlier)
        uncertain += self._has_lost_ledger
        events = SubmitEvents(request.model)
        until = time.monotonic() + max_wait
        slot = slot_of_account(hook, request.model, priority, max_wait, self._log)
        with budget.closing(recorder), events.observe(), slot:
            submission = hook.submit(
                request,
                max_wait=max(until - time.monotonic(), 0.0),
                observer=recorder,
                priority=priority,
            )
            self.generation = new_generation(request, submission, uncertain)
            self.has_submitted = True
            self._stored = recorder.stored
            # First of all: the rest talks to other stores, and may be interrupted there.
            self.ensure_recorded()
            budget.settle(self.generation)
            events.record_accepted(submission, self.generation)
        self._log.info(
            "Submitted request %s to %s (%s). Its polling URL is %s",
            submission.request_id,
            request.model,
            describe_cost(self.generation),
            submission.polling_url,
        )

    def settle_budgets(self, hook: FluxHook) -> None:
        """Settle what dead tries reserved in the budgets of the account, by their records.

        :param hook: hook of the connection.
        """
        try_number = getattr(self._context["ti"], "try_number", None) or 1
        if (self._earlier or try_number > 1) and (budgets := self._open_budgets(hook)):
            budgets.settle_earlier(self._earlier)

    def _open_budgets(self, hook: FluxHook) -> TaskBudgets | None:
        return open_task_budgets(hook, self._context, self._record_folder)

    def _correct_budget(self, generation: Generation, *, is_free: bool = False) -> None:
        """Write the final cost of a generation to the budgets, if it is another one."""
        difference = find_correction(generation, is_free=is_free)
        if not difference or self._find_hook is None or self._context is None:
            return
        try:
            budgets = self._open_budgets(self._find_hook())
        except FluxError as error:  # the image has landed
            self._log.warning("The budgets of the account do not know the final cost. %s", error)
            return
        if budgets:
            budgets.correct(generation, difference)

    def ensure_recorded(self) -> None:
        """Record that BFL accepted the request, unless the ledger says so already."""
        if self._stored and self.generation and not self.is_recorded:
            self.is_recorded = self._stored.write_or_warn("submitted", generation=self.generation)

    def resume_deferred(
        self, context: Context, uri: str | None, folder: str | None, target: Target | None
    ) -> None:
        """Find the record of the generation for which the task deferred.

        The record may know more than the task: the image has landed, but no event arrived. It may
        know less: then the submit is recorded again. If the record cannot be read, the task goes on
        without it, because the image must not be lost.

        :param context: the context of the running task.
        :param uri: URI of the record, if the deferral named one.
        :param folder: folder of the records; ``None`` for the task state store, if Airflow has one.
        :param target: where the image lands, for the options of the writes.
        """
        self._folder = target.folder if target else None
        self._context, self._record_folder = context, folder
        try:
            self._stored = find_record(context, self.accepted, uri, folder, target)
        except FluxError as error:
            self._log.warning(
                "The record of request %s cannot be read. %s", self.accepted["request_id"], error
            )
            # A try that cannot read the record does not submit, so a retry costs nothing.
            self.is_recorded = True
        if self._stored is None:
            return
        record = self._stored.record
        if record.is_uncertain and record.is_waiting_for(self.accepted):
            self.ensure_recorded()
        elif record.has_request(self.accepted["request_id"]):
            self.is_recorded = True
            if record.has_landed:
                self.generation = self._accepted_of(self._stored)

    def with_recorded_request(self, plan: LandingPlan | None) -> LandingPlan | None:
        """Return the plan with the request that was submitted, which an earlier try may have built.

        :param plan: how the image of this try's request is to land; ``None`` without
            ``output_path``.
        """
        if plan is None or self._stored is None:
            return plan
        return self._stored.record.add_request_to(plan)

    def mark_returned(self, generation: Generation) -> Generation:
        """Record that the task returns a generation, and return it.

        :param generation: the generation that the task returns.
        """
        if self._stored is None or self._stored.record.phase != "returned":
            record_returned(self.accepted, generation)
            self._correct_budget(generation)
        if self._stored and self._stored.record.phase != "returned":
            self._stored.write_or_warn("returned", generation=generation)
        return generation

    def mark_failed(self, error: FluxError) -> None:
        """Record that no image can land.

        :param error: the reason.
        """
        if self._stored:
            self._stored.write_or_warn("failed", error=error)
        if self.generation and isinstance(error, (FluxModeratedError, FluxGenerationError)):
            self._correct_budget(self.generation, is_free=True)

    def stop(self) -> str | None:
        """Stop submitting, because the task is killed.

        :return: a message about the request that BFL still processes; ``None`` if there is none.
        """
        self._is_stopped = True
        if self.generation is not None:
            request_id = self.generation["request_id"]
            return f"Killed. BFL has no cancel: request {request_id} goes on and is billed."
        return self._recorder.stop() if self._recorder else None

    @property
    def _latest(self) -> StoredRecord | None:
        """The last record that was not refused. A refused one changes nothing."""
        for stored in reversed(self._earlier):
            if not stored.record.is_refused:
                return stored
        return None

    def _accepted_of(self, stored: StoredRecord) -> Generation:
        """Return the generation of a record. One in a bucket may name images of this task only."""
        return stored.record.accepted_below(self._folder or "" if stored.uri else None)

    def _resume(self, stored: StoredRecord) -> None:
        self._stored = stored
        self.generation = self._accepted_of(stored)
        self.is_recorded = True
        record_resumed(self.generation)
        self._log.info(
            "Try %s submitted request %s at %s (%s). This try resumes it and submits nothing",
            stored.record.owner.try_number,
            self.generation["request_id"],
            self.generation["submitted_at"],
            describe_cost(self.generation),
        )
