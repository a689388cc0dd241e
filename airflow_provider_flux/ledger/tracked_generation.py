"""The generation of a task and its record in the ledger, from BFL's answer to the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
)
from airflow_provider_flux.generation import Generation, describe_cost
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.submit_budget import (
    TaskBudgets,
    find_correction,
    open_task_budgets,
)
from airflow_provider_flux.ledger.task_ledger import find_record
from airflow_provider_flux.observability.generation_events import record_resumed, record_returned

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class TrackedGeneration:
    """The generation of a task, whose phases its record in the ledger follows.

    :param log: logger of the task.
    :param find_hook: returns the hook of the connection, for the budgets of the account. Without
        it, which is the default, no final cost is written to them.
    :ivar generation: the accepted request; ``None`` until BFL has answered.
    :ivar is_recorded: whether a retry will find the generation in the ledger.
    """

    def __init__(self, log: Any, find_hook: Callable[[], FluxHook] | None = None) -> None:
        self._log = log
        self._find_hook = find_hook
        self._context: Any = None
        self._record_folder: str | None = None
        self._folder: str | None = None
        self._stored: StoredRecord | None = None
        self.generation: Generation | None = None
        self.is_recorded = False

    @property
    def accepted(self) -> Generation:
        """The generation, once there is one: after the submit, or after it was resumed."""
        assert self.generation is not None  # noqa: S101 - callers submit or resume first
        return self.generation

    @property
    def record_uri(self) -> str | None:
        """The URI of the record; ``None`` if there is no record that a triggerer can reach."""
        return self._stored.uri if self._stored else None

    @property
    def has_landed(self) -> bool:
        """Whether the image has landed by its record."""
        return self.is_recorded and self._stored is not None and self._stored.record.has_landed

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
        self._locate(context, folder, target)
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

    def _locate(self, context: Context, folder: str | None, target: Target | None) -> None:
        """Remember where the task keeps its records and its images."""
        self._folder = target.folder if target else None
        self._context, self._record_folder = context, folder

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
