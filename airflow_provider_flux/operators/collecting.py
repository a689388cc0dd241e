"""From what was paid for to what a task returns; what exists already is not paid for."""

from __future__ import annotations

from typing import Any

from airflow_provider_flux.bfl.errors import FluxResultExpiredError, FluxTaskNotFoundError
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.bfl.responses import GenerationResult, Status
from airflow_provider_flux.generation import Generation, describe_cost, with_result
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.ledger.submission import TrackedSubmission
from airflow_provider_flux.operators.wait_policy import WaitPolicy


def find_existing(plan: LandingPlan, request: GenerationRequest) -> Generation | None:
    """Look for an image that makes the request needless.

    :raises FluxExistsError: if there is an object that ``if_exists`` does not allow for.
    :raises FluxStorageError: if the store cannot tell.
    """
    if plan.target.reuse == "never" and plan.target.options.if_exists == "overwrite":
        return None
    from airflow_provider_flux.landing.reuse import find_reusable  # Pillow: not at DAG parse time
    from airflow_provider_flux.object_store.filesystem import run_sync

    return run_sync(find_reusable(plan, estimate_cost(request).credits))


def wait_here(
    hook: FluxHook, patience: WaitPolicy, generation: Generation, plan: LandingPlan | None
) -> GenerationResult | Generation | None:
    """Wait on the worker, and return the result; ``None`` when it is time to defer.

    What an earlier try has landed, and BFL has forgotten since, is found: it is returned as a generation.

    :raises FluxError: the typed failure of the generation, or of the wait.
    """
    try:
        return patience.wait_here(hook, generation)
    except (FluxTaskNotFoundError, FluxResultExpiredError):
        if plan is None:
            raise
        from airflow_provider_flux.landing.land import find_landed  # Pillow: not at DAG parse time
        from airflow_provider_flux.object_store.filesystem import run_sync

        if landed := run_sync(find_landed(generation, plan)):
            return landed
        raise


def collect(
    hook: FluxHook,
    purchase: TrackedSubmission,
    plan: LandingPlan | None,
    log: Any,
    *,
    result: GenerationResult | None = None,
    deadline: float | None = None,
) -> Generation:
    """Land what was paid for, if it is to land and has not yet, and write down that its task returns it.

    :param result: a Ready result, if it was fetched just now.
    :param deadline: epoch seconds until which to wait for what is not ready yet.
    :raises FluxError: if it cannot be landed.
    """
    generation = purchase.accepted
    if result is not None:
        generation = with_result(generation, result)
    if generation["status"] == Status.READY:
        tell_ready(log, generation)
    if plan is not None:
        from airflow_provider_flux.landing.land import land  # Pillow: not at DAG parse time
        from airflow_provider_flux.object_store.filesystem import open_path

        open_path(plan.target.path)
        generation = land(hook, generation, plan, result=result, deadline=deadline)
    return purchase.mark_returned(generation)


def tell_ready(log: Any, generation: Generation) -> None:
    """Write into the log of a task what it has got."""
    log.info(
        "Request %s is ready, seed %s, %s",
        generation["request_id"],
        generation["seed"],
        describe_cost(generation),
    )
