"""Download a Ready result until its bytes are whole, with a fresh URL if the first one has expired.

:func:`_download_steps` holds every decision and does no I/O. It yields one step after the other,
and the two functions that perform them differ in nothing but that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, NoReturn

from airflow_provider_flux.bfl import delivery
from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxImageError,
    FluxResultExpiredError,
    FluxServiceError,
)
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.client.sync import FluxClient
from airflow_provider_flux.generation import Generation, describe_cost
from airflow_provider_flux.landing.sidecar import Sidecar
from airflow_provider_flux.media.image import inspect_image
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.media.video import inspect_video, is_mp4

log = logging.getLogger(__name__)

#: Downloads of one result whose bytes are not whole.
_MAX_DOWNLOADS = 3


@dataclass(frozen=True)
class VerifiedResult:
    """A whole result in memory, which was downloaded or read from where it had landed.

    :param data: its bytes.
    :param info: format, size and hash of the bytes.
    :param draft_cache: bytes that ``draft_enhance`` needs of a draft video.
    :param copied_from: URI from which it was read; ``None`` after a download.
    :param origin: the sidecar at that URI.
    """

    data: bytes
    info: MediaInfo
    draft_cache: bytes | None = None
    copied_from: str | None = None
    origin: Sidecar | None = None

    @property
    def is_marked(self) -> bool:
        """Whether an earlier landing marked the bytes as AI-generated."""
        return bool(self.origin and self.origin.media.delivered_sha256)


@dataclass(frozen=True)
class _Download:
    """Download a URL; the answer is its bytes, up to a limit."""

    url: str
    max_bytes: int


@dataclass(frozen=True)
class _Inspect:
    """Check that bytes of a result are whole; the answer is their :class:`MediaInfo`."""

    data: bytes
    result: GenerationResult


@dataclass(frozen=True)
class _Refresh:
    """Get the result again, with a fresh URL; the answer is the new result."""


_Steps = Generator[_Download | _Inspect | _Refresh, Any, VerifiedResult]


def download_result(
    client: FluxClient,
    generation: Generation,
    result: GenerationResult,
    refresh: Callable[[], GenerationResult],
) -> VerifiedResult:
    """Download a result on this thread.

    :param client: the client of the connection.
    :param generation: the generation, for messages.
    :param result: its Ready result.
    :param refresh: gets the result again, with a fresh URL.
    :raises FluxResultExpiredError: if BFL refuses the signed URL, and a fresh one that has expired.
    :raises FluxServiceError: if BFL refuses a fresh URL before it expires.
    :raises FluxImageError: if BFL delivers no whole image in three downloads.
    """

    def perform(step: _Download | _Inspect | _Refresh) -> Any:
        match step:
            case _Download(url, max_bytes):
                return client.download(
                    url, request_id=generation["request_id"], max_bytes=max_bytes
                )
            case _Inspect(data, _):
                return inspect_result(data, generation["model"])
            case _Refresh():
                return refresh()

    steps = _download_steps(generation, result)
    step = next(steps)
    try:
        while True:
            try:
                answer = perform(step)
            except FluxError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return _result_of(end)


async def download_result_async(
    client: FluxAsyncClient,
    generation: Generation,
    result: GenerationResult,
    refresh: Callable[[], Awaitable[GenerationResult]],
    inspect: Callable[[bytes, GenerationResult], Awaitable[MediaInfo]] | None = None,
) -> VerifiedResult:
    """Download a result on an event loop, and check its bytes in a thread.

    :param client: the client of the connection.
    :param generation: the generation, for messages.
    :param result: its Ready result.
    :param refresh: gets the result again, with a fresh URL.
    :param inspect: checks the bytes of a result in place of :func:`inspect_result`; ``None`` (the
        default) for none.
    :raises FluxResultExpiredError: if BFL refuses the signed URL, and a fresh one that has expired.
    :raises FluxServiceError: if BFL refuses a fresh URL before it expires.
    :raises FluxImageError: if BFL delivers no whole image in three downloads.
    """

    async def perform(step: _Download | _Inspect | _Refresh) -> Any:
        match step:
            case _Download(url, max_bytes):
                return await client.download(
                    url, request_id=generation["request_id"], max_bytes=max_bytes
                )
            case _Inspect(data, latest):
                if inspect is not None:
                    return await inspect(data, latest)
                return await asyncio.to_thread(inspect_result, data, generation["model"])
            case _Refresh():
                return await refresh()

    steps = _download_steps(generation, result)
    step = next(steps)
    try:
        while True:
            try:
                answer = await perform(step)
            except FluxError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return _result_of(end)


def inspect_result(data: bytes, model: str) -> MediaInfo:
    """Read format, size and hash of a result from its bytes.

    The bytes decide, whatever the catalog says about the model, because BFL billed the result.

    :param data: the whole content.
    :param model: name of the model, for a warning if it should deliver another kind of media.
    :raises FluxImageError: if the bytes are not a whole image or video.
    """
    info = inspect_video(data) if is_mp4(data[:12]) else inspect_image(data)
    entry = MODELS.get(model)
    if entry and (entry.output == "video") != (info.seconds is not None):
        log.warning("The result of %s is %s, not %s", model, info.content_type, entry.output)
    return info


def _download_steps(generation: Generation, result: GenerationResult) -> _Steps:
    """Yield the steps of a download; errors of the I/O are thrown in."""
    request_id = generation["request_id"]
    has_fresh_url, damaged = False, 0
    entry = MODELS.get(generation["model"])
    is_image = entry is not None and entry.output == "image"
    max_bytes = delivery.MAX_IMAGE_BYTES if is_image else delivery.MAX_RESULT_BYTES
    while True:
        try:
            if not result.sample:
                raise FluxResultExpiredError(
                    "The result is Ready but names no image.", is_still_valid=True
                )
            data = yield _Download(result.sample, max_bytes)
            info = yield _Inspect(data, result)
            break
        except FluxResultExpiredError as error:
            if has_fresh_url:
                _fail_expired(generation, error)
            log.warning("%s Getting a fresh URL for request %s.", error, request_id)
            has_fresh_url = True
            result = yield _Refresh()
        except FluxImageError as error:
            damaged += 1
            if damaged == _MAX_DOWNLOADS:
                _fail_damaged(generation, error)
            log.warning("%s Downloading request %s again.", error, request_id)
    draft_cache = None
    if result.draft_cache:
        try:
            draft_cache = yield _Download(result.draft_cache, delivery.MAX_DRAFT_CACHE_BYTES)
        except FluxError as error:  # its URL expires, too, but the video must not be lost
            log.warning(
                "The draft cache could not be downloaded: draft_enhance cannot use this video. %s",
                error,
            )
    return VerifiedResult(data, info, draft_cache)


def _result_of(end: StopIteration) -> VerifiedResult:
    """Return the value that the steps ended with."""
    assert isinstance(end.value, VerifiedResult)  # noqa: S101 - the return type of the steps
    return end.value


def _fail_expired(generation: Generation, error: FluxResultExpiredError) -> NoReturn:
    if error.is_still_valid:  # only a poll can tell that BFL has forgotten the result
        raise FluxServiceError(
            f"{error} BFL refused two URLs of the image of request {generation['request_id']}, "
            f"which was generated and billed ({describe_cost(generation)}). A retry gets a new "
            "URL, free of charge.",
            request_id=generation["request_id"],
            cost=generation["cost"],
        ) from None
    raise FluxResultExpiredError(
        f"{error} BFL refused a fresh URL too. The image of request {generation['request_id']} was "
        f"generated and billed ({describe_cost(generation)}), and BFL no longer delivers it. To "
        "submit a new request, clear the task that generated it.",
        request_id=generation["request_id"],
        cost=generation["cost"],
    ) from None


def _fail_damaged(generation: Generation, error: FluxImageError) -> NoReturn:
    raise FluxImageError(
        f"Request {generation['request_id']}: {error} Downloaded {_MAX_DOWNLOADS} times; nothing "
        "was stored.",
        request_id=generation["request_id"],
        cost=generation["cost"],
    ) from None
