"""From a Ready result to verified bytes: download until they are whole, exchange a dead URL for a fresh one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.errors import FluxError, FluxImageError, FluxResultExpiredError
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.generation import Generation, describe_cost
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.sidecar import Sidecar
from airflow_provider_flux.media.image import inspect_image
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.media.video import inspect_video, is_mp4

log = logging.getLogger(__name__)

#: Times a result is downloaded when what arrives is not a whole image.
_DOWNLOADS = 3


@dataclass(frozen=True)
class VerifiedResult:
    """A result that is in memory and whole: downloaded, or read from where it has landed before.

    :param draft_cache: bytes of what ``draft_enhance`` needs of a draft video.
    :param copied_from: URI it was read from.
    :param origin: what the sidecar there says of it.
    """

    data: bytes
    info: MediaInfo
    draft_cache: bytes | None = None
    copied_from: str | None = None
    origin: Sidecar | None = None

    @property
    def is_marked(self) -> bool:
        """Whether the bytes have been marked as AI-generated before."""
        return bool(self.origin and self.origin.media.delivered_sha256)


class _Judge:
    """Decide after a failed download whether to go on."""

    def __init__(self, record: Generation) -> None:
        self._record = record
        self._renewed, self._damaged = False, 0

    def needs_fresh_url(self, error: FluxError) -> bool:
        """Whether to go on with a fresh URL, or with the same one.

        :raises FluxError: if there is no use in going on.
        """
        if isinstance(error, FluxResultExpiredError):
            if self._renewed:
                raise _paid_and_lost(self._record, error) from None
            log.warning("%s Asking for a fresh one.", error)
            self._renewed = True
            return True
        if not isinstance(error, FluxImageError):
            raise error
        self._damaged += 1
        if self._damaged == _DOWNLOADS:
            raise FluxImageError(
                f"Request {self._record['request_id']}: {error} Downloaded {self._damaged} times; nothing was stored.",
                request_id=self._record["request_id"],
                cost=self._record["cost"],
            ) from None
        log.warning("%s Downloading it again.", error)
        return False


def download_result(
    hook: FluxHook,
    record: Generation,
    result: GenerationResult,
    refresh: Callable[[], GenerationResult],
) -> VerifiedResult:
    """Download a result on this thread.

    :param refresh: asks for the result again, with a fresh URL.
    :raises FluxResultExpiredError: if the signed URL is refused, and so is a fresh one.
    :raises FluxImageError: if what is delivered is not a whole image.
    """
    judge, request_id = _Judge(record), record["request_id"]
    while True:
        try:
            data = hook.get_conn().download(_sample_of(result), request_id=request_id)
            info = inspect(data, record["model"])
            break
        except FluxError as error:
            if judge.needs_fresh_url(error):
                result = refresh()
    cache = None
    if result.draft_cache:
        try:
            cache = hook.get_conn().download(result.draft_cache, request_id=request_id)
        except FluxError as error:
            _forgo_cache(error)
    return VerifiedResult(data, info, cache)


async def download_result_async(
    client: FluxAsyncClient,
    record: Generation,
    result: GenerationResult,
    refresh: Callable[[], Awaitable[GenerationResult]],
) -> VerifiedResult:
    """Download a result on an event loop; its bytes are checked in a thread. See :func:`download_result`."""
    judge, request_id = _Judge(record), record["request_id"]
    while True:
        try:
            data = await client.download(_sample_of(result), request_id=request_id)
            info = await asyncio.to_thread(inspect, data, record["model"])
            break
        except FluxError as error:
            if judge.needs_fresh_url(error):
                result = await refresh()
    cache = None
    if result.draft_cache:
        try:
            cache = await client.download(result.draft_cache, request_id=request_id)
        except FluxError as error:
            _forgo_cache(error)
    return VerifiedResult(data, info, cache)


def inspect(data: bytes, model: str) -> MediaInfo:
    """Tell what a result is from its bytes: it is paid for, whatever the catalog says of the model.

    :raises FluxImageError: if it is not a whole image or video.
    """
    info = inspect_video(data) if is_mp4(data[:12]) else inspect_image(data)
    entry = MODELS.get(model)
    if entry and (entry.output == "video") != (info.seconds is not None):
        log.warning(
            "The result of %s is %s, and not the %s it should be",
            model,
            info.content_type,
            entry.output,
        )
    return info


def _sample_of(result: GenerationResult) -> str:
    if not result.sample:
        raise FluxResultExpiredError("The result is Ready but names no image.")
    return result.sample


def _forgo_cache(error: FluxError) -> None:
    """The video must not be lost with its draft cache, whose URL dies too and cannot be kept."""
    log.warning(
        "The draft cache could not be downloaded: draft_enhance cannot use this video. %s", error
    )


def _paid_and_lost(record: Generation, error: FluxResultExpiredError) -> FluxResultExpiredError:
    return FluxResultExpiredError(
        f"{error} A fresh URL was refused too. The image of request {record['request_id']} was generated and paid "
        f"for ({describe_cost(record)}) and BFL does not deliver it any more: clearing the task that generated it "
        "pays for a new one.",
        request_id=record["request_id"],
        cost=record["cost"],
    )
