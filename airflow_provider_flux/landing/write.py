"""Put verified bytes where they belong: the image in one write, its sidecar, what else lies beside it."""

from __future__ import annotations

import asyncio
import logging

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxImageError, FluxStorageError
from airflow_provider_flux.generation import Generation, LandedImage, with_landed
from airflow_provider_flux.landing import sidecar
from airflow_provider_flux.landing.download import VerifiedResult, inspect
from airflow_provider_flux.landing.existing import describe_landed, load
from airflow_provider_flux.landing.expectations import find_mismatches
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.reuse_index import add_to_index
from airflow_provider_flux.landing.xmp import embed_xmp
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.object_store.objects import put

log = logging.getLogger(__name__)

_SUFFIXES = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "mp4": "mp4"}


async def write_result(
    fetched: VerifiedResult, record: Generation, plan: LandingPlan
) -> Generation:
    """Put what was fetched where it belongs, and return its record with ``image`` or ``video`` filled in.

    To be run by :mod:`~airflow_provider_flux.object_store.filesystem`.

    :raises FluxImageError: if it is not as it was asked for, and ``on_mismatch`` is ``fail``.
    :raises FluxExistsError: if there is another object, and it must not be replaced.
    :raises FluxStorageError: if the image cannot be written. What lies beside it is forgone then, with a warning.
    """
    mismatches = find_mismatches(plan.request, fetched.info)
    _judge_mismatches(mismatches, plan, record)
    data, info = await asyncio.to_thread(_marked, fetched, record, plan)
    uri = plan.target.uri_of(record, info)
    suffix = uri.rpartition(".")[2].lower()
    if suffix in _SUFFIXES and _SUFFIXES[suffix] != info.format:
        log.warning(
            "%s is of the format %s; {ext} in output_path would name it rightly", uri, info.format
        )
    try:
        await put(
            uri,
            data,
            plan.target.write_options_of(record, info),
            exclusive=plan.target.options.if_exists != "overwrite",
        )
    except FluxExistsError:
        if plan.target.options.if_exists == "error":
            raise
        return await _keep_existing(uri, record)
    draft_cache = await _put_draft_cache(uri, fetched, plan)
    landed = describe_landed(uri, info, None)
    if plan.target.options.sidecar:
        landed["sidecar"] = await _put_sidecar(
            fetched, record, plan, landed, mismatches, draft_cache
        )
        await add_to_index(uri, plan)
    log.info("Landed request %s at %s (%d bytes)", record["request_id"], uri, info.size)
    return with_landed(record, landed, info.seconds, draft_cache)


def _judge_mismatches(mismatches: list[str], plan: LandingPlan, record: Generation) -> None:
    if not mismatches:
        return
    said = f"The result of request {record['request_id']} is not as it was asked for: {'; '.join(mismatches)}."
    if plan.target.options.on_mismatch == "fail":
        raise FluxImageError(
            f"{said} It was not stored.", request_id=record["request_id"], cost=record["cost"]
        )
    log.warning("%s It is landed all the same, since it is paid for.", said)


def _marked(
    fetched: VerifiedResult, record: Generation, plan: LandingPlan
) -> tuple[bytes, MediaInfo]:
    """Write the AI-generated mark into the bytes, if that is wanted, and check that they are whole again."""
    if not plan.target.options.embed_metadata or fetched.is_marked:
        return fetched.data, fetched.info
    data = embed_xmp(
        fetched.data, fetched.info.format, model=record["model"], request_id=record["request_id"]
    )
    return data, inspect(data, record["model"])


async def _keep_existing(uri: str, record: Generation) -> Generation:
    """Describe what is there, and was not to be replaced, instead of what was generated."""
    found = await load(uri)
    if found is None:
        raise FluxStorageError(f"What was at {uri} is gone again. Landing it once more is free.")
    log.warning(
        "There is an image at %s already (if_exists='skip'): the one of request %s was not stored. "
        "FluxToObjectStorageOperator lands it under another name, as long as BFL keeps it.",
        uri,
        record["request_id"],
    )
    return with_landed(record, found.landed, found.info.seconds, found.draft_cache)


async def _put_draft_cache(uri: str, fetched: VerifiedResult, plan: LandingPlan) -> str | None:
    """Land what ``draft_enhance`` needs of a draft beside its video."""
    if fetched.draft_cache is None:
        return fetched.origin.media.draft_cache if fetched.origin else None
    beside = f"{uri.removesuffix('.mp4')}.draft.bin"
    try:
        await put(
            beside,
            fetched.draft_cache,
            plan.target.companion_write_options("application/octet-stream"),
        )
    except FluxStorageError as error:  # the video has landed: it must not be lost with its cache
        log.warning(
            "The video has landed, but not its draft cache: draft_enhance cannot use it. %s", error
        )
        return None
    return beside


async def _put_sidecar(
    fetched: VerifiedResult,
    record: Generation,
    plan: LandingPlan,
    landed: LandedImage,
    mismatches: list[str],
    draft_cache: str | None,
) -> str | None:
    delivered = fetched.info.sha256 if landed["sha256"] != fetched.info.sha256 else None
    if fetched.origin and fetched.is_marked:
        delivered = fetched.origin.media.delivered_sha256
    more = {
        "delivered_sha256": delivered,
        "seconds": fetched.info.seconds,
        "draft_cache": draft_cache,
    }
    media = sidecar.MediaFacts.model_validate({**landed, **more})
    described = sidecar.build(record, plan, media, mismatches)
    if fetched.copied_from:
        described = sidecar.as_copy(described, fetched.copied_from, fetched.origin)
    uri = sidecar.uri_of(landed["uri"])
    try:
        await put(
            uri,
            sidecar.to_bytes(described),
            plan.target.companion_write_options(sidecar.CONTENT_TYPE),
        )
    except (
        FluxStorageError
    ) as error:  # the image has landed: its task must not fail, and pay again, for a note on it
        log.warning("The image has landed, but not its sidecar. %s", error)
        return None
    return uri
