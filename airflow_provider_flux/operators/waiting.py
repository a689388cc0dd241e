"""The wait of a generation operator, on the worker or the triggerer, and the landing after it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxResultExpiredError,
    FluxTaskNotFoundError,
    FluxTimeoutError,
)
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import (
    Generation,
    describe_cost,
    poller_for,
    submitted_epoch,
    with_result,
)
from airflow_provider_flux.media.input_files import add_input_files
from airflow_provider_flux.observability.generation_events import (
    observe_failure,
    observe_landing,
    record_generated,
)
from airflow_provider_flux.observability.task_files import TaskFiles
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.stored_images import find_landed_image
from airflow_provider_flux.operators.wait_policy import WaitPolicy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_flux.bfl.responses import GenerationResult
    from airflow_provider_flux.hooks.flux import FluxHook
    from airflow_provider_flux.landing.plan import LandingPlan
    from airflow_provider_flux.landing.target import Reuse
    from airflow_provider_flux.ledger.resume_policy import ResumePolicy
    from airflow_provider_flux.ledger.submission import TrackedSubmission
    from airflow_provider_flux.operators.deferral import DeferredState

#: Seconds on the worker in which BFL's polls should confirm what a webhook said.
_AFTER_WEBHOOK_SECONDS = 30.0
#: Difference between the clocks of worker and triggerer that changes nothing.
_CLOCK_TOLERANCE_SECONDS = 5.0


class FluxWaitingOperator(FluxLandingOperator):
    """Base class that waits for an accepted request and lands its image. Do not use it by itself.

    The ``__init__`` of a subclass sets the attributes below.
    """

    model: str
    parameters: Mapping[str, Any] | None
    reuse: Reuse
    inline_wait: float
    deferrable: bool
    poll_interval: float
    timeout: float | None
    wait: bool
    _policy: ResumePolicy
    _submission: TrackedSubmission | None

    @cached_property
    def hook(self) -> FluxHook:
        """The hook of the connection."""
        from airflow_provider_flux.hooks.flux import FluxHook

        return FluxHook(self.flux_conn_id, webhook_hosts=self._webhook_hosts)

    def _wait(self, plan: LandingPlan | None, context: Context) -> Generation:
        """Wait on the worker, if the policy says so, and land the image; otherwise defer."""
        policy = self._wait_policy
        if not self.wait:
            return self._return(self._tracked.accepted)
        if policy.starts_on_worker:
            return self._wait_until(policy.pause_at(time.time()), plan, context)
        return self._defer(plan, context)

    def _wait_after_webhook(self, plan: LandingPlan | None, context: Context) -> Generation:
        """Poll, because a webhook reported the end, and land the image.

        What a webhook says is a hint. If BFL's polls contradict it, the task defers again.
        """
        request_id = self._tracked.accepted["request_id"]
        self.log.info("A webhook of BFL reported the end of request %s", request_id)
        return self._wait_until(time.time() + _AFTER_WEBHOOK_SECONDS, plan, context)

    def _wait_until(
        self, pause_at: float | None, plan: LandingPlan | None, context: Context
    ) -> Generation:
        """Wait on the worker, and land the image; defer at ``pause_at``."""
        generation = self._tracked.accepted
        poller = poller_for(
            generation,
            deadline=self._wait_policy.deadline_of(generation, time.time()),
            poll_interval=self.poll_interval,
            pause_at=pause_at,
            hide_texts=self.hide_prompt,
        )
        try:
            client = self.hook.get_conn()
            result = client.wait_or_pause(poller, generation["polling_url"])
        except (FluxTaskNotFoundError, FluxResultExpiredError):
            if landed := find_landed_image(generation, plan):
                return self._return(landed)
            raise
        if result is None:
            return self._defer(plan, context)
        if self._tracked.has_submitted:
            record_generated(generation, time.time() - submitted_epoch(generation))
        return self._land(plan, result)

    def _defer(self, plan: LandingPlan | None, context: Context) -> NoReturn:
        from airflow_provider_flux.operators.deferral import DeferredState, deferral_arguments

        submission, generation = self._tracked, self._tracked.accepted
        submission.ensure_recorded()
        state = DeferredState(generation, plan, submission.record_uri)
        state.save(context["ti"])
        self.defer(
            **deferral_arguments(
                state,
                flux_conn_id=self.flux_conn_id,
                deadline=self._wait_policy.deadline_of(generation, time.time()),
                poll_interval=self.poll_interval,
                now=time.time(),
                hide_texts=self.hide_prompt,
                has_receiver=self._has_receiver,
            )
        )

    def _land(
        self,
        plan: LandingPlan | None,
        result: GenerationResult | None = None,
        *,
        deadline: float | None = None,
    ) -> Generation:
        """Land the image, if there is a plan, and return the generation.

        :param result: the result, if it was read just now; otherwise BFL is asked for it.
        :param deadline: epoch seconds until which to wait for a generation that is not ready yet.
        """
        generation = self._tracked.accepted
        if result is not None:
            generation = with_result(generation, result)
        if generation["status"] == Status.READY:
            self._log_ready(generation)
        if plan is not None:
            from airflow_provider_flux.landing.land import land  # Pillow: not at DAG parse time
            from airflow_provider_flux.object_store.filesystem import open_path

            open_path(plan.target.path)
            with observe_landing(generation):
                generation = land(self.hook, generation, plan, result=result, deadline=deadline)
        return self._return(generation)

    def _return(self, generation: Generation) -> Generation:
        """Record that the task returns a generation, and return it."""
        return self._add_landed(self._tracked.mark_returned(generation))

    def _add_landed(self, generation: Generation) -> Generation:
        """Remember the landed image for links and lineage, and return its generation."""
        self.task_files.request_id = generation["request_id"] or None
        self.task_files.add_landed([generation])
        return generation

    def _observe_failure(self) -> AbstractContextManager[None]:
        return observe_failure(self.model, lambda: self._tracked.generation)

    def _read_state(self, context: Context) -> DeferredState:
        """Return the state from before the deferral; an empty one if it cannot be read.

        The ledger and the arguments of the task then stand in for it.
        """
        from airflow_provider_flux.operators.deferral import DeferredState

        try:
            return DeferredState.load(context["ti"], self.task_id)
        except Exception as error:
            self.log.warning("The state of the deferred task cannot be read (%s).", error)
            return DeferredState()

    def _plan_after_deferral(self, context: Context, state: DeferredState) -> LandingPlan | None:
        plan = state.plan or self._landing_plan(context, reuse=self.reuse)
        return self._tracked.with_recorded_request(plan)

    def _check_timeout(self, error: FluxError) -> None:
        """Raise the error of a trigger, unless only the clock of the triggerer says it is late.

        :param error: the error of the event.
        :raises FluxError: the same, unless it is a timeout whose deadline is still to come by the
            clock of this worker, which set it.
        """
        now = time.time()
        left = self._wait_policy.deadline_of(self._tracked.accepted, now) - now
        if not isinstance(error, FluxTimeoutError) or left <= _CLOCK_TOLERANCE_SECONDS:
            raise error
        self.log.warning(
            "By the clock of the triggerer the deadline has passed, by that of this worker %.0f s "
            "are left. The worker waits on. Synchronize the clocks.",
            left,
        )

    def _wait_on_worker(self, plan: LandingPlan | None) -> Generation:
        """Wait until the deadline without another deferral, and land the image."""
        generation = self._tracked.accepted
        now = time.time()
        deadline = max(self._wait_policy.deadline_of(generation, now), now)
        if plan is not None:  # the triggerer may have landed it, and BFL may keep it no longer
            return self._land(plan, deadline=deadline)
        poller = poller_for(
            generation,
            deadline=deadline,
            poll_interval=self.poll_interval,
            hide_texts=self.hide_prompt,
        )
        return self._land(None, self.hook.get_conn().wait(poller, generation["polling_url"]))

    def _start_tracking(self) -> TrackedSubmission:
        from airflow_provider_flux.ledger.submission import TrackedSubmission

        self._submission = TrackedSubmission(self._policy, self.log, lambda: self.hook)
        self.task_files = TaskFiles()
        add_input_files(self.task_files.inputs, self.model, self.parameters)
        return self._submission

    @property
    def _has_receiver(self) -> bool:
        """Whether BFL calls the receiver in Airflow's API server when the image is ready."""
        return False

    @property
    def _tracked(self) -> TrackedSubmission:
        assert self._submission is not None  # noqa: S101 - set at the start of each phase
        return self._submission

    @property
    def _wait_policy(self) -> WaitPolicy:
        # After a deferral, a request may be known by its generation alone.
        generation = self._submission.generation if self._submission else None
        return WaitPolicy(
            model=generation["model"] if generation else self.model,
            deferrable=self.deferrable,
            inline_wait=self.inline_wait,
            timeout=self.timeout,
            execution_timeout=self.execution_timeout,
        )

    def _log_ready(self, generation: Generation) -> None:
        self.log.info(
            "Request %s is ready, seed %s, %s",
            generation["request_id"],
            generation["seed"],
            describe_cost(generation),
        )

    def _log_handover(self, event: Mapping[str, Any]) -> None:
        if reason := event.get("reason"):
            self.log.warning("Going on on the worker: %s", reason)
