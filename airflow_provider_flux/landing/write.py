"""Write a verified result: the image in one put, then the files beside it."""

from __future__ import annotations

import logging

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxImageError, FluxStorageError
from airflow_provider_flux.generation import Generation, LandedImage, with_landed
from airflow_provider_flux.landing import sidecar as sidecars
from airflow_provider_flux.landing.below_root import LandingGuard
from airflow_provider_flux.landing.companion_names import draft_cache_uri, sidecar_uri
from airflow_provider_flux.landing.download import VerifiedResult, inspect_result
from airflow_provider_flux.landing.existing import describe_landed, load_image
from airflow_provider_flux.landing.expectations import find_mismatches
from airflow_provider_flux.landing.other_tasks import (
    find_other_task,
    name_beside,
    read_stored_sidecar,
)
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.renditions import (
    add_missing_renditions,
    as_renditions,
    write_renditions,
)
from airflow_provider_flux.landing.reuse_index import add_to_index
from airflow_provider_flux.landing.sidecar import MediaFacts, RenditionFacts, Sidecar
from airflow_provider_flux.landing.suffixes import format_of_name
from airflow_provider_flux.landing.xmp import embed_xmp
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.object_store.blocking import call_blocking
from airflow_provider_flux.object_store.objects import exists, put

log = logging.getLogger(__name__)


async def write_result(
    result: VerifiedResult,
    generation: Generation,
    plan: LandingPlan,
    guard: LandingGuard | None = None,
) -> Generation:
    """Write a verified result to its target.

    Runs on the event loop of the stores:
    see :mod:`~airflow_provider_flux.object_store.filesystem`.

    :param result: the bytes.
    :param generation: the Ready generation.
    :param plan: where and how to land the image.
    :param guard: limits of the name, if a stranger may have written the plan.
    :return: the generation with ``image`` or ``video``.
    :raises FluxImageError: if the result differs from the request, and ``on_mismatch`` is ``fail``.
    :raises FluxExistsError: if ``if_exists`` forbids to replace another object.
    :raises FluxStorageError: if the image cannot be written. A failure to write one of the files
        beside it is a warning.
    """
    target = plan.target
    mismatches = find_mismatches(plan.request, result.info)
    _check_mismatches(mismatches, generation, plan)
    data, info = await call_blocking(_mark, result, generation, plan)
    uri = target.uri_of(generation, info)
    if guard:
        guard.check_landing(uri, info)
    _warn_about_suffix(uri, info)
    stored = await read_stored_sidecar(uri, plan) if target.options.sidecar else None
    if target.options.if_exists == "overwrite":
        uri, stored = _spare_other_task(uri, stored, generation, plan)
    is_exclusive = target.options.if_exists != "overwrite"
    try:
        await put(uri, data, target.write_options_of(generation, info), exclusive=is_exclusive)
    except FluxExistsError:
        if target.options.if_exists == "error":
            raise
        return await _keep_existing(uri, generation, plan)
    draft_cache = await _put_draft_cache(uri, result, plan)
    renditions = await write_renditions(
        uri, data, info, generation, plan, exclusive=is_exclusive, guard=guard
    )
    landed = describe_landed(uri, info, None)
    landed["renditions"] = as_renditions(renditions)
    if target.options.sidecar:
        media = _describe_media(result, landed, draft_cache, renditions)
        sidecar = sidecars.build_sidecar(generation, plan, media, mismatches)
        if result.copied_from:
            sidecar = sidecars.with_origin(sidecar, result.copied_from, result.origin)
        landed["sidecar"] = await _put_sidecar(sidecar, plan, stored)
        if plan.rejection is None:
            await add_to_index(uri, plan)
    log.info("Landed request %s at %s (%d bytes)", generation["request_id"], uri, info.size)
    return with_landed(generation, landed, info.seconds, draft_cache)


def _check_mismatches(mismatches: list[str], generation: Generation, plan: LandingPlan) -> None:
    if not mismatches:
        return
    message = (
        f"The result of request {generation['request_id']} differs from the request: "
        f"{'; '.join(mismatches)}."
    )
    if plan.target.options.on_mismatch == "fail":
        raise FluxImageError(
            f"{message} It was not stored.",
            request_id=generation["request_id"],
            cost=generation["cost"],
        )
    log.warning("%s It lands anyway, because BFL billed it.", message)


def _mark(
    result: VerifiedResult, generation: Generation, plan: LandingPlan
) -> tuple[bytes, MediaInfo]:
    """Return the bytes, marked as AI-generated if requested, and inspect marked bytes again."""
    if not plan.target.options.embed_metadata or result.is_marked:
        return result.data, result.info
    data = embed_xmp(
        result.data,
        result.info.format,
        model=generation["model"],
        request_id=generation["request_id"],
    )
    return data, inspect_result(data, generation["model"])


def _warn_about_suffix(uri: str, info: MediaInfo) -> None:
    if format_of_name(uri) not in {None, info.format}:
        log.warning(
            "%s has the format %s. Use {ext} in output_path to get the right suffix.",
            uri,
            info.format,
        )


def _spare_other_task(
    uri: str, stored: bytes | None, generation: Generation, plan: LandingPlan
) -> tuple[str, bytes | None]:
    """Return the name for an image, and the sidecar there: another name if that one is taken.

    :param stored: the content of the sidecar under the name.
    """
    request_id = generation["request_id"]
    other = find_other_task(stored, uri, request_id, plan)
    if other is None:
        return uri, stored
    beside = name_beside(uri, request_id)
    log.warning(
        "%s is the image of the task %r (map index %s) of this DAG run, and is not replaced. The "
        "image of request %s lands at %s. Give the tasks names that differ.",
        uri,
        other.task_id,
        other.map_index,
        request_id,
        beside,
    )
    return beside, None


async def _keep_existing(uri: str, generation: Generation, plan: LandingPlan) -> Generation:
    """Return the generation with the image that ``if_exists="skip"`` keeps."""
    existing = await load_image(uri)
    if existing is None and await exists(uri) is False:
        raise FluxStorageError(
            f"The object at {uri} appeared and vanished during the write. Clear the task: landing "
            "again is free."
        )
    if existing is None:
        raise FluxStorageError(
            f"There is an object at {uri}, but the credentials may not read it. So "
            f"if_exists='skip' cannot return it, and the image of request "
            f"{generation['request_id']} was not stored. Allow the credentials to read, or land "
            "the image under another name with FluxToObjectStorageOperator while BFL keeps it."
        )
    log.warning(
        "There is an image at %s already (if_exists='skip'): the one of request %s was not stored. "
        "To land it under another name, use FluxToObjectStorageOperator while BFL keeps it.",
        uri,
        generation["request_id"],
    )
    kept = with_landed(generation, existing.landed, existing.info.seconds, existing.draft_cache)
    return await add_missing_renditions(existing, kept, plan)


async def _put_draft_cache(uri: str, result: VerifiedResult, plan: LandingPlan) -> str | None:
    """Write the draft cache beside its video, which must not be lost if that fails."""
    if result.draft_cache is None:
        return result.origin.media.draft_cache if result.origin else None
    cache_uri = draft_cache_uri(uri)
    write_options = plan.target.companion_write_options("application/octet-stream")
    try:
        await put(cache_uri, result.draft_cache, write_options)
    except FluxStorageError as error:
        log.warning(
            "The video landed, but its draft cache is missing: draft_enhance cannot use this "
            "video. %s",
            error,
        )
        return None
    return cache_uri


def _describe_media(
    result: VerifiedResult,
    landed: LandedImage,
    draft_cache: str | None,
    renditions: dict[str, RenditionFacts],
) -> MediaFacts:
    delivered_sha256 = result.info.sha256 if landed["sha256"] != result.info.sha256 else None
    if result.origin and result.is_marked:
        delivered_sha256 = result.origin.media.delivered_sha256
    return MediaFacts(
        uri=landed["uri"],
        sha256=landed["sha256"],
        bytes=landed["bytes"],
        width=landed["width"],
        height=landed["height"],
        content_type=landed["content_type"],
        delivered_sha256=delivered_sha256,
        seconds=result.info.seconds,
        draft_cache=draft_cache,
        renditions=renditions,
    )


async def _put_sidecar(sidecar: Sidecar, plan: LandingPlan, stored: bytes | None) -> str | None:
    """Write the sidecar; if that fails, the task must not fail and submit again."""
    uri = sidecar_uri(sidecar.media.uri)
    write_options = plan.target.companion_write_options(sidecars.CONTENT_TYPE)
    if stored and not sidecars.is_sidecar(stored):
        log.warning(
            "The object at %s is no sidecar, and is not replaced. The image has no sidecar.", uri
        )
        return None
    try:
        await put(uri, sidecars.encode_sidecar(sidecar), write_options)
    except FluxStorageError as error:
        log.warning("The image landed, but its sidecar is missing. %s", error)
        return None
    return uri
