"""The submit of a task, of which BFL bills at most one over all tries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_flux.account.governor.single import slot_of_account
from airflow_provider_flux.bfl.errors import (
    FluxLedgerError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation, describe_cost, new_generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.earlier_tries import EarlierTries, read_earlier_tries
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.resume_policy import ResumePolicy
from airflow_provider_flux.ledger.submit_budget import SubmitBudget
from airflow_provider_flux.ledger.submit_recorder import SubmitRecorder
from airflow_provider_flux.ledger.task_ledger import TaskLedger, open_ledger
from airflow_provider_flux.ledger.tracked_generation import TrackedGeneration
from airflow_provider_flux.observability.generation_events import SubmitEvents

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class TrackedSubmission(TrackedGeneration):
    """One submit of a task, tracked by the ledger of the task.

    A try either submits, or resumes the generation that an earlier try submitted:
    :meth:`read_earlier_tries`, :meth:`decide`, :meth:`submit`, then :meth:`mark_returned` or
    :meth:`mark_failed`. After a deferral it begins with :meth:`resume_deferred`.

    :param policies: the answers of the user where there is a choice.
    :param log: logger of the task.
    :param find_hook: returns the hook of the connection, for the budgets of the account. Without
        it, which is the default, no final cost is written to them.
    :ivar has_submitted: whether this phase of the task submitted the generation.
    """

    def __init__(
        self,
        policies: ResumePolicy,
        log: Any,
        find_hook: Callable[[], FluxHook] | None = None,
    ) -> None:
        super().__init__(log, find_hook)
        self._policies = policies
        self._ledger: TaskLedger | None = None
        self._earlier = EarlierTries()
        self._recorder: SubmitRecorder | None = None
        self._is_stopped = False
        self.has_submitted = False

    @property
    def is_stopped(self) -> bool:
        """Whether the task was killed, so that it must not submit."""
        return self._is_stopped

    @property
    def can_resume(self) -> bool:
        """Whether an earlier try submitted a generation that this try can resume or return."""
        return self._earlier.can_resume

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
        self._locate(context, folder, target)
        self._ledger = open_ledger(context, folder, target)
        if self._ledger is None:
            self._log.info(
                "This task keeps no record of its submits. Set output_path or ledger_path, or use "
                "Airflow 3.3 or newer"
            )
            return
        self._earlier = read_earlier_tries(self._ledger)

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
        decision = self._earlier.decide(self._ledger, fingerprint, self._policies)
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
                latest = self._earlier.latest
                assert latest is not None  # noqa: S101 - without a record, nothing is resumed
                self._resume(latest)
        return decision.action

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
        budget = self._new_budget(hook, request, max_wait)
        recorder = self._new_recorder(hook, request, plan, budget, confirm)
        uncertain = self._earlier.uncertain_submits
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
            self._accept(new_generation(request, submission, uncertain), recorder.stored)
            budget.settle(self.accepted)
            events.record_accepted(submission, self.accepted)
        self._log_accepted()

    def _accept(self, generation: Generation, stored: StoredRecord | None) -> None:
        """Record a generation that BFL just accepted."""
        self.generation = generation
        self.has_submitted = True
        self._stored = stored
        # First of all: the rest talks to other stores, and may be interrupted there.
        self.ensure_recorded()

    def _log_accepted(self) -> None:
        generation = self.accepted
        self._log.info(
            "Submitted request %s to %s (%s). Its polling URL is %s",
            generation["request_id"],
            generation["model"],
            describe_cost(generation),
            generation["polling_url"],
        )

    def _new_budget(
        self, hook: FluxHook, request: GenerationRequest, max_wait: float
    ) -> SubmitBudget:
        number = self._ledger.next_number if self._ledger else 0
        return SubmitBudget(self._open_budgets(hook), request, number, max_wait)

    def _new_recorder(
        self,
        hook: FluxHook,
        request: GenerationRequest,
        plan: LandingPlan | None,
        budget: SubmitBudget,
        confirm: Callable[[], object],
    ) -> SubmitRecorder:
        """Return the observer of a submit, which :meth:`stop` may stop from now on."""

        def confirm_all() -> None:
            budget.reserve()
            confirm()

        last = self._earlier.last
        recorder = SubmitRecorder(self._ledger, last, request, plan, hook.flux_conn_id, confirm_all)
        self._recorder = recorder
        if self._is_stopped:
            recorder.stop()
        return recorder

    def settle_budgets(self, hook: FluxHook) -> None:
        """Settle what dead tries reserved in the budgets of the account, by their records.

        :param hook: hook of the connection.
        """
        try_number = getattr(self._context["ti"], "try_number", None) or 1
        if (self._earlier.records or try_number > 1) and (budgets := self._open_budgets(hook)):
            budgets.settle_earlier(self._earlier.records)

    def stop(self) -> str | None:
        """Stop submitting, because the task is killed.

        :return: a message about the request that BFL still processes; ``None`` if there is none.
        """
        self._is_stopped = True
        if self.generation is not None:
            request_id = self.generation["request_id"]
            return f"Killed. BFL has no cancel: request {request_id} goes on and is billed."
        return self._recorder.stop() if self._recorder else None
