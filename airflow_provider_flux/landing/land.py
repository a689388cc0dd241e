"""Land one generation: fresh result, verified bytes, one put, a sidecar. It pays for nothing and can be repeated."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxExistsError,
    FluxResultExpiredError,
    FluxStorageError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.bfl.polling import DEFAULT_TIMEOUT
from airflow_provider_flux.bfl.responses import GenerationResult, Status
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.generation import Generation, poller_for, with_landed, with_result
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.download import download_result, download_result_async
from airflow_provider_flux.landing.existing import Existing, load, load_sidecar
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.write import write_result
from airflow_provider_flux.object_store.filesystem import open_path, run_async, run_sync

log = logging.getLogger(__name__)

#: Results that are in memory at once on one event loop; the others wait for their turn.
_AT_ONCE = 32
_ROOM: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
#: What BFL says of a result that it does not keep any more.
RESULT_GONE = (FluxTaskNotFoundError, FluxResultExpiredError)


def land(
    hook: FluxHook,
    generation: Generation,
    plan: LandingPlan,
    *,
    deadline: float | None = None,
    result: GenerationResult | None = None,
) -> Generation:
    """Bring the image of a generation to its target and return its record with ``image`` filled in.

    A generation that has landed elsewhere is copied from there.

    :param deadline: epoch seconds until which to wait for a generation that is not ready yet.
    :param result: a Ready result, if it was fetched just now; otherwise a fresh one is asked for.
    :raises FluxResultExpiredError: if the signed URL is refused, and so is a fresh one.
    :raises FluxImageError: if what BFL delivers is not a whole image.
    :raises FluxExistsError: if there is another object, and it must not be replaced.
    :raises FluxStorageError: if it cannot be written.
    """

    def refresh() -> GenerationResult:
        end = time.time() + DEFAULT_TIMEOUT if deadline is None else deadline
        poller = poller_for(generation, deadline=end)
        return hook.get_conn().wait(poller, generation["polling_url"])

    there, trouble = (None, None) if result else _what_landed(generation)
    if there:
        return _copy(there, generation, plan)
    if not generation["request_id"]:
        raise FluxStorageError(
            "The image was not made by this task, and is not where it was found any more."
        )
    try:
        result = result or refresh()
        record = with_result(generation, result)
        fetched = download_result(hook, record, result, refresh)
    except RESULT_GONE:
        if landed := run_sync(find_landed(generation, plan)):
            return landed
        if trouble is not None:  # it may be there all the same
            raise trouble from None
        raise
    return run_sync(write_result(fetched, record, plan))


async def land_async(
    client: FluxAsyncClient,
    generation: Generation,
    plan: LandingPlan,
    result: GenerationResult,
    refresh: Callable[[], Awaitable[GenerationResult]],
) -> Generation:
    """Bring the image of a Ready generation to its target from an event loop. See :func:`land`."""
    record = with_result(generation, result)
    room = _ROOM.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))
    async with room:
        fetched = await download_result_async(client, record, result, refresh)
        return await run_async(write_result(fetched, record, plan))


async def find_landed(generation: Generation, plan: LandingPlan) -> Generation | None:
    """Return the record of an image that was landed already, by a task or trigger that did not live to say so.

    To be run by :mod:`~airflow_provider_flux.object_store.filesystem`. Its sidecar tells it; one whose name cannot be told, or
    without a sidecar, is not found.
    """
    for uri in plan.target.possible_uris(generation):
        try:
            described = await load_sidecar(uri)
            if described is None or described.request_id != generation["request_id"]:
                continue
            found = await load(uri)
        except FluxError:
            continue
        if found and found.sidecar:
            log.info(
                "BFL does not keep request %s any more, but it has landed: %s",
                generation["request_id"],
                uri,
            )
            record = generation.copy()
            record["status"], record["seed"] = Status.READY.value, described.seed
            record["cost"], record["cost_source"] = described.cost, described.cost_source
            return with_landed(record, found.landed, found.info.seconds, found.draft_cache)
    return None


def _what_landed(generation: Generation) -> tuple[Existing | None, FluxError | None]:
    """Return what has landed already, if it is still there, unchanged; or why that cannot be told."""
    landed = generation["image"] or generation["video"]
    if not landed:
        return None, None
    try:
        open_path(landed["uri"], field="generation")
        found = run_sync(load(landed["uri"]))
    except FluxError as error:
        log.warning("%s Asking BFL for the image.", error)
        return None, None if isinstance(error, FluxExistsError) else error
    if found is None or found.info.sha256 != landed["sha256"]:
        log.warning("%s is not there any more, or was changed: asking BFL for it", landed["uri"])
        return None, None
    return found, None


def _copy(found: Existing, generation: Generation, plan: LandingPlan) -> Generation:
    """Copy what has landed already: BFL may have forgotten it."""
    if plan.target.uri_of(generation, found.info) == found.uri:
        return generation
    if found.sidecar and plan.request.model is None:
        plan = plan.with_request(found.sidecar.request)
    return run_sync(write_result(found.fetched, generation, plan))
