"""The claim of an operator that submits: of all tasks that want one image, one pays."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_flux.bfl.errors import FluxError, FluxGenerationError, FluxLedgerError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.operators.stored_images import find_existing_image
from airflow_provider_flux.operators.waiting import FluxWaitingOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_flux.bfl.request import GenerationRequest
    from airflow_provider_flux.landing.claims import ClaimWait, HeldClaim
    from airflow_provider_flux.landing.plan import LandingPlan

#: Longest time on the worker between two looks at the claim of another task.
_MAX_INTERVAL_SECONDS = 10.0


class FluxClaimingOperator(FluxWaitingOperator):
    """Base class that claims an image before its submit. Do not use it by itself."""

    #: The claim that this phase of the task took; ``None`` if it took none.
    _claim: HeldClaim | None = None
    #: Epoch seconds at which the task stops waiting for the claims of others.
    _claim_deadline: float | None = None
    #: Whether Airflow ended a deferral, so that the wait goes on on the worker.
    _stays_on_worker = False

    def _find_or_claim(
        self, request: GenerationRequest, plan: LandingPlan | None
    ) -> Generation | None:
        """Find an image that makes the submit unnecessary, or claim the image.

        While another task has claimed it, the task waits: on the worker first, and then deferred.

        :return: the generation of the image; ``None`` if this task is to submit it.
        :raises FluxError: if the task is killed meanwhile.
        :raises FluxStorageError: if the store does not answer.
        """
        existing = find_existing_image(request, plan)
        if existing or plan is None or plan.target.reuse == "never":
            return existing
        from airflow_provider_flux.landing.claims import ClaimWait

        began, seen = time.monotonic(), None
        while True:
            found = self._try_to_claim(plan, seen)
            if not isinstance(found, ClaimWait):
                self._claim = found
                return self._find_just_landed(request, plan) if found else None
            if seen is None:
                self.log.info("Another task generates this image: %s. Waiting for it", found.owner)
            if self._has_waited_long_enough(found):
                return None
            seen = found
            self._wait_for_claim(found, began)
            if existing := find_existing_image(request, plan):
                return existing

    def _try_to_claim(
        self, plan: LandingPlan, seen: ClaimWait | None = None
    ) -> HeldClaim | ClaimWait | None:
        from airflow_provider_flux.landing.claim_policy import claim_seconds
        from airflow_provider_flux.landing.claims import claim_image
        from airflow_provider_flux.object_store.filesystem import run_sync

        seconds = claim_seconds(self._wait_policy.max_wait)
        return run_sync(claim_image(plan, seconds, seen))

    def _find_just_landed(self, request: GenerationRequest, plan: LandingPlan) -> Generation | None:
        """Find the image that another task landed right before this one claimed it."""
        from airflow_provider_flux.bfl.request import estimate_cost
        from airflow_provider_flux.landing.reuse import find_just_landed
        from airflow_provider_flux.object_store.filesystem import run_sync

        return run_sync(find_just_landed(plan, estimate_cost(request).credits))

    def _has_waited_long_enough(self, wait: ClaimWait) -> bool:
        """Whether to submit although another task has the claim, which it may keep for ever."""
        from airflow_provider_flux.landing.claim_policy import MAX_CLAIM_SECONDS

        now = time.time()
        latest = now + MAX_CLAIM_SECONDS
        self._claim_deadline = min(self._claim_deadline or latest, latest)
        if now < self._claim_deadline:
            return False
        self.log.warning(
            "%s has claimed this image for more than %g seconds, and it has not landed. This task "
            "submits it, so BFL may bill it twice.",
            wait.owner,
            MAX_CLAIM_SECONDS,
        )
        return True

    def _wait_for_claim(self, wait: ClaimWait, began: float) -> None:
        """Wait until a claim changes or expires; defer after ``inline_wait``."""
        from airflow_provider_flux.landing.claims import has_changed
        from airflow_provider_flux.object_store.filesystem import run_sync

        may_defer = self.deferrable and not self._stays_on_worker
        assert self._claim_deadline is not None  # noqa: S101 - set before each wait
        while time.time() < self._claim_deadline and not run_sync(has_changed(wait)):
            if self._tracked.is_stopped:
                raise FluxError("The task was killed while it waited for the image of another.")
            waited = time.monotonic() - began
            if may_defer and waited >= self.inline_wait:
                self._defer_for_claim(wait)
            seconds = min(max(self.poll_interval, waited / 10), _MAX_INTERVAL_SECONDS)
            time.sleep(max(0.0, min(seconds, wait.seconds_left)))

    def _defer_for_claim(self, wait: ClaimWait) -> NoReturn:
        from airflow_provider_flux.operators.deferral import claim_deferral_arguments

        assert self._claim_deadline is not None  # noqa: S101 - set before each wait
        self.defer(
            **claim_deferral_arguments(
                wait,
                claim_deadline=self._claim_deadline,
                poll_interval=self.poll_interval,
                now=time.time(),
            )
        )

    def execute_after_claim(
        self, context: Context, event: Any = None, claim_deadline: Any = None
    ) -> Generation:
        """Look again after the wait for the image of another task: reuse it, or submit.

        The task has submitted nothing, so this begins anew, with the rest of the time to wait. A
        decorated function runs again.

        :param context: context of the task.
        :param event: event of :class:`~airflow_provider_flux.triggers.claim.FluxClaimTrigger`,
            whose content does not matter.
        :param claim_deadline: epoch seconds at which the task stops waiting.
        :return: the generation.
        :raises AirflowFailException: for errors that a retry must not follow.
        :raises FluxError: for errors that a retry may help.
        """
        if isinstance(claim_deadline, (int, float)):
            self._claim_deadline = float(claim_deadline)
        return self._run(context)

    @abstractmethod
    def _run(self, context: Context) -> Generation:
        """Do what :meth:`execute` does."""

    def _renew_claim(self, plan: LandingPlan | None) -> None:
        """Renew the claim right before a POST that had to wait, for example for a free slot.

        :raises FluxLedgerError: if another task took it over.
        :raises FluxStorageError: if the store does not answer.
        """
        if plan is None or self._claim is None or self._claim.is_fresh:
            return
        from airflow_provider_flux.landing.claims import ClaimWait

        found = self._try_to_claim(plan)
        if isinstance(found, ClaimWait):
            error = FluxLedgerError(
                f"Another task took over the claim of this image: {found.owner}. Nothing was "
                "submitted. A retry waits for its image."
            )
            error.is_permanent = False
            raise error
        self._claim = found

    @contextmanager
    def _releasing_claim(self, plan_of: Callable[[], LandingPlan | None]) -> Iterator[None]:
        """Release the claim of the task at the end of a phase, unless a retry can land its image.

        :param plan_of: returns the plan of the image, as far as it is known by then.
        """
        try:
            yield
        except TaskDeferred:
            raise
        except BaseException as error:
            if not self._can_resume_after(error):
                self._release_claim(plan_of(), has_landed=False)
            raise
        self._release_claim(plan_of(), has_landed=True)

    def _can_resume_after(self, error: BaseException) -> bool:
        """Whether a later try lands the image of this task."""
        if self._tracked.generation is None or isinstance(error, FluxGenerationError):
            return False
        return not (isinstance(error, FluxError) and error.is_permanent)

    def _release_claim(self, plan: LandingPlan | None, *, has_landed: bool) -> None:
        """Release the claim that this phase, or an earlier one, took. An error is only logged."""
        may_have_claim = self._claim is not None or self._tracked.generation is not None
        if plan is None or plan.target.reuse == "never" or not may_have_claim:
            return
        from airflow_provider_flux.landing.claims import release_claim
        from airflow_provider_flux.object_store.filesystem import open_path, run_sync

        try:
            open_path(plan.target.path)
            run_sync(release_claim(plan, self._claim, has_landed=has_landed))
        except FluxError as error:
            self.log.warning("The claim of the image stays until it expires. %s", error)
        self._claim = None
