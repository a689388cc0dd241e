"""An image that exists already is not paid for again: found under its own name, or by its fingerprint."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from airflow_provider_flux.bfl.errors import FluxExistsError
from airflow_provider_flux.bfl.responses import Status
from airflow_provider_flux.generation import Generation, with_landed
from airflow_provider_flux.landing.existing import Existing, load, load_sidecar
from airflow_provider_flux.landing.expectations import possible_formats
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.reuse_index import look_up
from airflow_provider_flux.landing.sidecar import Sidecar
from airflow_provider_flux.landing.write import write_result
from airflow_provider_flux.object_store.objects import exists

log = logging.getLogger(__name__)


async def find_reusable(plan: LandingPlan, estimated_cost: float | None) -> Generation | None:
    """Return the record of an image that makes the request needless, before anything is paid.

    To be run by :mod:`~airflow_provider_flux.object_store.filesystem`.

    :param estimated_cost: credits that are saved.
    :raises FluxExistsError: if there is an object that ``if_exists`` does not allow for.
    :raises FluxStorageError: if the store cannot tell.
    """
    names = plan.expected_uris()
    wants_same = plan.target.reuse != "never"
    found = await _same_image(names, plan) if wants_same else None
    found = found or await _same_name(names, plan)
    if found is None and wants_same:
        found = await _same_image(await look_up(plan), plan)
    if found is None:
        return None
    record = (
        await _brought_here(found, plan)
        if wants_same and _fits(found.sidecar, plan)
        else _record_of(found)
    )
    log.info("Reused %s: nothing is paid (saves %s credits)", found.uri, estimated_cost)
    record["cost"], record["cost_source"] = 0.0, "reused"
    record["estimated_cost"], record["reused"] = estimated_cost, True
    return record


async def _same_image(uris: Iterable[str], plan: LandingPlan) -> Existing | None:
    """Return a verified image of the same fingerprint."""
    for uri in uris:
        if not _fits(await load_sidecar(uri), plan):
            continue
        try:
            found = await load(uri)
        except FluxExistsError:
            found = None
        if found and found.sidecar:
            return found
        log.warning("%s is not what its sidecar says: it is not reused", uri)
    return None


async def _same_name(names: Sequence[str], plan: LandingPlan) -> Existing | None:
    """Return what lies under the name this image would get, where it must not be replaced."""
    if plan.target.options.if_exists == "overwrite":
        return None
    formats = possible_formats(plan.request)
    expected = {plan.expected_uri(ext) for ext in formats} if names else set()
    for uri in names:
        is_own = _is_of_this_task(await load_sidecar(uri), plan)
        if uri not in expected and not is_own:
            continue  # hero.png is in nobody's way when a jpeg was asked for, unless it was delivered in its place
        found = None if await exists(uri) is False else await load(uri)
        if found is None:
            continue
        if plan.target.options.if_exists == "skip" or is_own:
            return found
        raise FluxExistsError(
            f"There is an image at {uri} already; it is untouched, and nothing was paid."
        )
    return None


async def _brought_here(found: Existing, plan: LandingPlan) -> Generation:
    """Copy an image that lies under another name to the target; mark one that is to be marked and is not."""
    record = _record_of(found)
    is_unmarked = plan.target.options.embed_metadata and not found.fetched.is_marked
    if plan.target.uri_of(record, found.info) != found.uri:
        return await write_result(found.fetched, record, plan)
    if not is_unmarked or found.sidecar is None:
        return record
    unmarked = plan.with_if_exists("overwrite").model_copy(update={"task": found.sidecar.run})
    return await write_result(found.fetched, record, unmarked)


def _fits(described: Sidecar | None, plan: LandingPlan) -> bool:
    """Whether an image may be taken, by what its sidecar says."""
    if described is None or described.request.fingerprint is None:
        return False
    if described.request.fingerprint != plan.request.fingerprint:
        return False
    if described.mismatches and plan.target.options.on_mismatch == "fail":
        return False
    here, there = plan.task, described.run
    return plan.target.reuse == "always" or (here.dag_id, here.run_id) == (
        there.dag_id,
        there.run_id,
    )


def _is_of_this_task(described: Sidecar | None, plan: LandingPlan) -> bool:
    """Whether an earlier try of this very task has made it, for the same request."""
    if described is None or described.request.fingerprint != plan.request.fingerprint:
        return False
    here, there = (
        run.model_copy(update={"try_number": None}) for run in (plan.task, described.run)
    )
    return here == there


def _record_of(found: Existing) -> Generation:
    """Return the record of an image as its sidecar has it; without one little is known."""
    described = found.sidecar
    record = Generation(
        request_id=described.request_id if described else "",
        polling_url=None,
        model=described.model if described else "unknown",
        status=Status.READY.value,
        seed=described.seed if described else None,
        fingerprint=described.request.fingerprint if described else None,
        cost=described.cost if described else None,
        cost_source=described.cost_source if described else None,
        estimated_cost=None,
        submitted_at=described.submitted_at if described else "",
        reused=True,
        uncertain_submits=0,
        image=None,
        video=None,
    )
    return with_landed(record, found.landed, found.info.seconds, found.draft_cache)
