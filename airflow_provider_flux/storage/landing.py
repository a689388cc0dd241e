"""Land one generation: fresh result, verified bytes, one put, a sidecar. It pays for nothing and can be repeated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError, FluxImageError, FluxStorageError
from airflow_provider_flux.bfl.responses import TaskResult
from airflow_provider_flux.client import FluxAsyncClient
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.storage import sidecar
from airflow_provider_flux.storage.existing import describe, load, load_landed
from airflow_provider_flux.storage.fetching import Fetched, afetch, fetch, inspect
from airflow_provider_flux.storage.marking import mark
from airflow_provider_flux.storage.provenance import without_prompt
from airflow_provider_flux.storage.reuse import remember
from airflow_provider_flux.storage.target import Target
from airflow_provider_flux.storage.wanted import find_mismatches
from airflow_provider_flux.storage.writer import put
from airflow_provider_flux.stores import arun, open_path, run
from airflow_provider_flux.xcom import Generation, ready, submission_of, with_landed

log = logging.getLogger(__name__)

#: Results that are in memory at once on one event loop; the others wait for their turn.
_AT_ONCE = 32
_ROOM: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_SUFFIXES = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "mp4": "mp4"}


def land(
    hook: FluxHook,
    generation: Generation,
    target: Target,
    *,
    deadline: float | None = None,
    result: TaskResult | None = None,
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

    def refresh() -> TaskResult:
        fresh = hook.wait(submission_of(generation), deadline=deadline)
        assert fresh is not None  # noqa: S101 - wait() pauses only when it was told to
        return fresh

    if copied := None if result else _copy(generation, target):
        return copied
    if not generation["request_id"]:
        raise FluxStorageError("The image was not made by this task, and is not where it was found any more.")
    result = result or refresh()
    record = ready(generation, result)
    fetched = fetch(hook, record, result, refresh, full_decode=target.options.full_decode)
    return run(place(fetched, record, target))


async def aland(
    client: FluxAsyncClient,
    generation: Generation,
    target: Target,
    result: TaskResult,
    refresh: Callable[[], Awaitable[TaskResult]],
) -> Generation:
    """Bring the image of a Ready generation to its target from an event loop. See :func:`land`."""
    record = ready(generation, result)
    room = _ROOM.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))
    async with room:
        fetched = await afetch(client, record, result, refresh, full_decode=target.options.full_decode)
        return await arun(place(fetched, record, target))


async def place(fetched: Fetched, record: Generation, target: Target) -> Generation:
    """Put what was fetched where it belongs. To be run by :mod:`~airflow_provider_flux.stores`."""
    mismatches = find_mismatches(target.request, fetched.info)
    _judge_mismatches(mismatches, target, record)
    data, info = _marked(fetched, record, target)
    uri = target.uri_of(record, info)
    suffix = uri.rpartition(".")[2].lower()
    if suffix in _SUFFIXES and _SUFFIXES[suffix] != info.format:
        log.warning("%s is of the format %s; {ext} in output_path would name it rightly", uri, info.format)
    options = target.options
    try:
        await put(uri, data, target.manner_of(record, info), exclusive=options.if_exists != "overwrite")
    except FluxExistsError:
        if options.if_exists == "error":
            raise
        return await _keep_existing(uri, record)
    draft_cache = await _put_draft_cache(uri, fetched.draft_cache, target)
    landed = describe(uri, info, sidecar.uri_of(uri) if options.sidecar else None)
    if options.sidecar:
        delivered = fetched.info.sha256 if fetched.info.sha256 != info.sha256 else None
        described = sidecar.build(
            record,
            target,
            landed,
            mismatches,
            delivered_sha256=delivered,
            seconds=info.seconds,
            draft_cache=draft_cache,
        )
        await put(sidecar.uri_of(uri), sidecar.to_bytes(described), target.manner_beside(sidecar.CONTENT_TYPE))
        await remember(uri, target)
    log.info("Landed request %s at %s (%d bytes)", record["request_id"], uri, info.size)
    return with_landed(record, landed, info.seconds, draft_cache)


def _copy(generation: Generation, target: Target) -> Generation | None:
    """Copy what has landed already, if it is still there, unchanged: BFL may have forgotten it."""
    landed = generation["image"] or generation["video"]
    if not landed:
        return None
    try:
        open_path(landed["uri"], field="generation")
        found = run(load_landed(generation))
    except FluxError as error:
        log.warning("%s Asking BFL for the image.", error)
        return None
    if found is None:
        log.warning("%s is not there any more, or was changed: asking BFL for it", landed["uri"])
        return None
    fetched, described = found
    if target.uri_of(generation, fetched.info) == landed["uri"]:
        return generation
    if described and target.request.model is None:
        facts = without_prompt(described.request) if target.options.hide_prompt else described.request
        target = target.model_copy(update={"request": facts})
    return run(place(fetched, generation, target))


def _judge_mismatches(mismatches: list[str], target: Target, record: Generation) -> None:
    if not mismatches:
        return
    said = f"The result of request {record['request_id']} is not as it was asked for: {'; '.join(mismatches)}."
    if target.options.on_mismatch == "fail":
        raise FluxImageError(f"{said} It was not stored.", request_id=record["request_id"], cost=record["cost"])
    log.warning("%s It is landed all the same, since it is paid for.", said)


def _marked(fetched: Fetched, record: Generation, target: Target) -> tuple[bytes, MediaInfo]:
    """Write the AI-generated mark into the bytes, if that is wanted, and check that they are whole again."""
    if not target.options.embed_metadata:
        return fetched.data, fetched.info
    data = mark(fetched.data, fetched.info.format, model=record["model"], request_id=record["request_id"])
    return data, inspect(data, record["model"])


async def _keep_existing(uri: str, record: Generation) -> Generation:
    """Describe what is there, and was not to be replaced, instead of what was generated."""
    found = await load(uri)
    if found is None:
        raise FluxStorageError(f"What was at {uri} is gone again. Landing it once more is free.")
    log.warning(
        "There is an image at %s already (if_exists='skip'): the one of request %s was not stored",
        uri,
        record["request_id"],
    )
    return with_landed(record, found.landed, found.info.seconds, found.draft_cache)


async def _put_draft_cache(uri: str, data: bytes | None, target: Target) -> str | None:
    """Land what ``draft_enhance`` needs of a draft beside its video."""
    if data is None:
        return None
    beside = f"{uri.removesuffix('.mp4')}.draft.bin"
    try:
        await put(beside, data, target.manner_beside("application/octet-stream"))
    except FluxStorageError as error:  # the video has landed: it must not be lost with its cache
        log.warning("The video has landed, but not its draft cache: draft_enhance cannot use it. %s", error)
        return None
    return beside
