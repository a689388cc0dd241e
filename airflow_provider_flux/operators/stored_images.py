"""Searches of an operator for images that its store holds already.

The imports are inside the functions, because they bring Pillow, which a DAG file must not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation

if TYPE_CHECKING:
    from airflow_provider_flux.landing.plan import LandingPlan


def find_existing_image(request: GenerationRequest, plan: LandingPlan | None) -> Generation | None:
    """Find an image that makes a submit unnecessary, by ``reuse`` or ``if_exists``.

    :param request: the request that the operator is about to submit.
    :param plan: its landing plan, if it has one.
    :return: the generation of the image, with a cost of 0; ``None`` if there is no such image.
    :raises FluxExistsError: if an object exists that ``if_exists`` does not allow, or the image of
        another task of this DAG run.
    :raises FluxStorageError: if the store cannot be read.
    """
    if plan is None:
        return None
    from airflow_provider_flux.landing.other_tasks import refuse_names_of_other_tasks
    from airflow_provider_flux.landing.reuse import find_reusable
    from airflow_provider_flux.object_store.filesystem import run_sync

    existing = None
    if plan.target.reuse != "never" or plan.target.options.if_exists != "overwrite":
        existing = run_sync(find_reusable(plan, estimate_cost(request).credits))
    if existing is None and plan.target.options.if_exists == "overwrite":
        run_sync(refuse_names_of_other_tasks(plan))
    return existing


def find_landed_image(generation: Generation, plan: LandingPlan | None) -> Generation | None:
    """Find the image of a generation that BFL no longer keeps, but an earlier try landed.

    :param generation: the accepted generation.
    :param plan: its landing plan, if it has one.
    :return: the generation with its image; ``None`` if the store does not hold it.
    """
    if plan is None:
        return None
    from airflow_provider_flux.landing.land import find_landed
    from airflow_provider_flux.object_store.filesystem import run_sync

    return run_sync(find_landed(generation, plan))
