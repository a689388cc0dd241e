"""Land one generation: fresh result, verified bytes, one put. It pays for nothing and can be repeated."""

from __future__ import annotations

import logging

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.errors import FluxError, FluxImageError, FluxResultExpiredError
from airflow_provider_flux.bfl.responses import TaskResult
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.media.image import inspect_image
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.media.video import inspect_video, is_mp4
from airflow_provider_flux.storage.naming import expand
from airflow_provider_flux.storage.writer import put
from airflow_provider_flux.xcom import Generation, LandedImage, LandedVideo, ready, submission_of

log = logging.getLogger(__name__)

#: Times a result is downloaded when what arrives is not a whole image.
_DOWNLOADS = 3
_SUFFIXES = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "mp4": "mp4"}


def land(
    hook: FluxHook,
    generation: Generation,
    output_path: str,
    *,
    index: int = 0,
    deadline: float | None = None,
    result: TaskResult | None = None,
) -> Generation:
    """Bring the image of a generation to ``output_path`` and return its record with ``image`` filled in.

    :param index: what ``{index}`` stands for.
    :param deadline: epoch seconds until which to wait for a generation that is not ready yet.
    :param result: a Ready result, if it was fetched just now; otherwise a fresh one is asked for.
    :raises FluxResultExpiredError: if the signed URL is refused, and so is a fresh one.
    :raises FluxImageError: if what BFL delivers is not a whole image.
    :raises FluxStorageError: if it cannot be written.
    """
    result = result or _fresh_result(hook, generation, deadline)
    record = ready(generation, result)
    data, info, result = _fetch(hook, record, result, deadline)
    uri = expand(output_path, ext=info.format, request_id=record["request_id"], seed=record["seed"], index=index)
    suffix = uri.rpartition(".")[2].lower()
    if suffix in _SUFFIXES and _SUFFIXES[suffix] != info.format:
        log.warning("%s is of the format %s; {ext} in output_path would name it rightly", uri, info.format)
    put(uri, data, info.content_type)
    landed = LandedImage(
        uri=uri,
        sha256=info.sha256,
        bytes=info.size,
        width=info.width,
        height=info.height,
        content_type=info.content_type,
    )
    if info.seconds is None:
        record["image"] = landed
    else:
        draft_cache = _land_draft_cache(hook, record, result, uri)
        record["video"] = LandedVideo(**landed, seconds=info.seconds, draft_cache=draft_cache)
    log.info("Landed request %s at %s (%d bytes)", record["request_id"], uri, info.size)
    return record


def _land_draft_cache(hook: FluxHook, record: Generation, result: TaskResult, uri: str) -> str | None:
    """Land what ``draft_enhance`` needs of a draft beside its video: its URL dies, too, and cannot be kept."""
    if not result.draft_cache:
        return None
    target = f"{uri.removesuffix('.mp4')}.draft.bin"
    try:
        put(target, hook.download(result.draft_cache, request_id=record["request_id"]), "application/octet-stream")
    except FluxError as error:  # the video has landed: it must not be lost with its cache
        log.warning("The video has landed, but not its draft cache: draft_enhance cannot use it. %s", error)
        return None
    return target


def _inspect(data: bytes, model: str) -> MediaInfo:
    """Tell what a result is from its bytes: it is paid for, whatever the catalog says of the model."""
    info = inspect_video(data) if is_mp4(data[:12]) else inspect_image(data)
    entry = MODELS.get(model)
    if entry and (entry.output == "video") != (info.seconds is not None):
        log.warning("The result of %s is %s, and not the %s it should be", model, info.content_type, entry.output)
    return info


def _fresh_result(hook: FluxHook, generation: Generation, deadline: float | None) -> TaskResult:
    result = hook.wait(submission_of(generation), deadline=deadline)
    assert result is not None  # noqa: S101 - wait() pauses only when it was told to
    return result


def _fetch(
    hook: FluxHook, record: Generation, result: TaskResult, deadline: float | None
) -> tuple[bytes, MediaInfo, TaskResult]:
    """Download until the bytes are a whole result; a dead URL is exchanged for a fresh one, once."""
    renewed, damaged = False, 0
    while True:
        try:
            if not result.sample:
                raise FluxResultExpiredError("The result is Ready but names no image.")
            data = hook.download(result.sample, request_id=record["request_id"])
            return data, _inspect(data, record["model"]), result
        except FluxResultExpiredError as error:
            if renewed:
                raise _paid_and_lost(record, error) from None
            log.warning("%s Asking for a fresh one.", error)
            result, renewed = _fresh_result(hook, record, deadline), True
        except FluxImageError as error:
            damaged += 1
            if damaged == _DOWNLOADS:
                raise FluxImageError(
                    f"Request {record['request_id']}: {error} Downloaded {damaged} times; nothing was stored.",
                    request_id=record["request_id"],
                    cost=record["cost"],
                ) from None
            log.warning("%s Downloading it again.", error)


def _paid_and_lost(record: Generation, error: FluxResultExpiredError) -> FluxResultExpiredError:
    price = f"{record['cost']:g} credits, {record['cost_source']}" if record["cost"] is not None else "price not known"
    return FluxResultExpiredError(
        f"{error} A fresh URL was refused too. The image of request {record['request_id']} was generated and paid "
        f"for ({price}) and BFL does not deliver it any more: clearing the task that generated it pays for a new one.",
        request_id=record["request_id"],
        cost=record["cost"],
    )
