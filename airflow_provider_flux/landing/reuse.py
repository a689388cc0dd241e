"""Find an image that exists already, by its own name or by its fingerprint, instead of a submit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from airflow_provider_flux.bfl.errors import FluxExistsError
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import Generation, with_landed
from airflow_provider_flux.landing.existing import ExistingImage, load_image, load_sidecar
from airflow_provider_flux.landing.expectations import expected_formats
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.renditions import add_missing_renditions
from airflow_provider_flux.landing.reuse_index import find_in_index
from airflow_provider_flux.landing.sidecar import Sidecar
from airflow_provider_flux.landing.write import write_result
from airflow_provider_flux.object_store.objects import exists

log = logging.getLogger(__name__)


async def find_reusable(plan: LandingPlan, estimated_cost: float | None) -> Generation | None:
    """Find an image that makes the submit unnecessary, by ``if_exists`` and ``reuse``.

    With ``reuse``, an image under another name is copied to the target. Runs on the event loop of
    the stores: see :mod:`~airflow_provider_flux.object_store.filesystem`.

    :param plan: the plan of the request that is about to be submitted.
    :param estimated_cost: credits that the submit would cost.
    :return: the generation of the image; ``None`` if there is none.
    :raises FluxExistsError: if ``if_exists`` forbids the object at the target.
    :raises FluxStorageError: if the store cannot answer.
    """
    existing = await find_existing(plan)
    return None if existing is None else await _reuse(existing, plan, estimated_cost)


async def find_just_landed(plan: LandingPlan, estimated_cost: float | None) -> Generation | None:
    """Find an image that another task landed between :func:`find_reusable` and the claim.

    The index names it, so this costs one read if there is none.

    :param plan: the plan of the request, whose image is claimed.
    :param estimated_cost: credits that the submit would cost.
    :return: the generation of the image; ``None`` if there is none.
    :raises FluxStorageError: if the store cannot answer.
    """
    existing = await _find_by_fingerprint(await find_in_index(plan), plan)
    return None if existing is None else await _reuse(existing, plan, estimated_cost)


async def _reuse(
    existing: ExistingImage, plan: LandingPlan, estimated_cost: float | None
) -> Generation:
    """Return the generation of an image that makes a submit unnecessary, at its target."""
    if plan.target.reuse != "never" and _is_reusable(existing.sidecar, plan):
        generation = await _bring_to_target(existing, plan)
    else:
        generation = await add_missing_renditions(existing, _generation_of(existing), plan)
    log.info("Reused %s: nothing is submitted (saves %s credits)", existing.uri, estimated_cost)
    generation["cost"], generation["cost_source"] = 0.0, "reused"
    generation["estimated_cost"], generation["reused"] = estimated_cost, True
    return generation


async def find_existing(plan: LandingPlan) -> ExistingImage | None:
    """Find the image that :func:`find_reusable` takes, and write nothing.

    :param plan: the plan of the request that would be submitted.
    :return: the image; ``None`` if there is none.
    :raises FluxExistsError: if ``if_exists`` forbids the object at the target.
    :raises FluxStorageError: if the store cannot answer.
    """
    uris = plan.expected_uris()
    may_reuse = plan.target.reuse != "never"
    existing = await _find_by_fingerprint(uris, plan) if may_reuse else None
    existing = existing or await _find_by_name(uris, plan)
    if existing is None and may_reuse:
        existing = await _find_by_fingerprint(await find_in_index(plan), plan)
    return existing


async def _find_by_fingerprint(uris: Iterable[str], plan: LandingPlan) -> ExistingImage | None:
    """Return a verified image of the same fingerprint."""
    for uri in uris:
        if not _is_reusable(await load_sidecar(uri), plan):
            continue
        try:
            existing = await load_image(uri)
        except FluxExistsError:
            existing = None
        if existing and existing.sidecar and existing.has_trailing_bytes:
            log.warning("Other bytes follow the image at %s. It is not reused.", uri)
            continue
        if existing and existing.sidecar:
            return existing
        log.warning("%s differs from what its sidecar describes. It is not reused.", uri)
    return None


async def _find_by_name(uris: Sequence[str], plan: LandingPlan) -> ExistingImage | None:
    """Return the image under the name this one would get, if it must not be replaced.

    An image of another format than the expected ones, for example ``hero.png`` if the request asks
    for a jpeg, counts only if an earlier try of this task landed it.
    """
    if plan.target.options.if_exists == "overwrite":
        return None
    expected = {plan.expected_uri(ext) for ext in expected_formats(plan.request)} if uris else set()
    for uri in uris:
        is_own = _is_of_same_task(await load_sidecar(uri), plan)
        if uri not in expected and not is_own:
            continue
        existing = None if await exists(uri) is False else await load_image(uri)
        if existing is None:
            continue
        if plan.target.options.if_exists == "skip" or is_own:
            return existing
        raise FluxExistsError(
            f"There is an image at {uri} already. It is unchanged, and nothing was submitted."
        )
    return None


async def _bring_to_target(existing: ExistingImage, plan: LandingPlan) -> Generation:
    """Copy an image to the target; under its own name, mark it if it must be marked."""
    generation = _generation_of(existing)
    if plan.target.uri_of(generation, existing.info) != existing.uri:
        return await write_result(existing.as_result(), generation, plan)
    result = existing.as_result()
    needs_mark = plan.target.options.embed_metadata and not result.is_marked
    if not needs_mark or existing.sidecar is None:
        return await add_missing_renditions(existing, generation, plan)
    in_place = plan.with_if_exists("overwrite").model_copy(update={"task": existing.sidecar.run})
    return await write_result(result, generation, in_place)


def _is_reusable(sidecar: Sidecar | None, plan: LandingPlan) -> bool:
    """Whether the image of a sidecar has the fingerprint and comes from an allowed run."""
    if sidecar is None or sidecar.request.fingerprint is None:
        return False
    if sidecar.request.fingerprint != plan.request.fingerprint:
        return False
    if sidecar.mismatches and plan.target.options.on_mismatch == "fail":
        return False
    if plan.target.reuse == "always":
        return True
    return (plan.task.dag_id, plan.task.run_id) == (sidecar.run.dag_id, sidecar.run.run_id)


def _is_of_same_task(sidecar: Sidecar | None, plan: LandingPlan) -> bool:
    """Whether an earlier try of the same task landed the image for the same request."""
    if sidecar is None or sidecar.request.fingerprint != plan.request.fingerprint:
        return False
    any_try = {"try_number": None}
    return plan.task.model_copy(update=any_try) == sidecar.run.model_copy(update=any_try)


def _generation_of(existing: ExistingImage) -> Generation:
    """Return the generation of an image by its sidecar; without one, most values are unknown."""
    sidecar = existing.sidecar
    generation = Generation(
        request_id=sidecar.request_id if sidecar else "",
        polling_url=None,
        model=sidecar.model if sidecar else "unknown",
        status=Status.READY.value,
        seed=sidecar.seed if sidecar else None,
        fingerprint=sidecar.request.fingerprint if sidecar else None,
        cost=sidecar.cost if sidecar else None,
        cost_source=sidecar.cost_source if sidecar else None,
        estimated_cost=None,
        submitted_at=sidecar.submitted_at if sidecar else "",
        reused=True,
        uncertain_submits=0,
        image=None,
        video=None,
    )
    return with_landed(generation, existing.landed, existing.info.seconds, existing.draft_cache)
