"""The route that delivers results: images, videos and draft caches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from xml.sax.saxutils import escape

from fastapi import APIRouter, Request
from starlette.responses import Response

from airflow_provider_flux.emulator.background_jobs import run_in_thread
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.render import render
from airflow_provider_flux.emulator.drawing.video import encode_draft_cache
from airflow_provider_flux.emulator.fault_scripts import Fault
from airflow_provider_flux.emulator.http.files import file_response
from airflow_provider_flux.emulator.http.responses import (
    BrokenResponse,
    bomb_response,
    dripping_response,
    error_response,
    foreign_redirect,
    html_page,
)
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import CACHE_TYPE, Task

#: The format that the fault ``wrong-format`` delivers instead.
_OTHER_FORMAT = {"jpeg": "png", "png": "webp", "webp": "jpeg", "mp4": "jpeg"}


def delivery_routes(service: Service) -> APIRouter:
    """Return the route of the signed URLs. It requires no key, and counts the keys that it gets.

    :param service: the service that the route uses.
    """
    router = APIRouter(include_in_schema=False)

    @router.api_route("/results/{task_id}/{name}", methods=["GET", "HEAD"])
    async def deliver(request: Request, task_id: str, name: str) -> Response:
        service.counts["downloads"] += request.method == "GET"
        service.counts["key_seen_on_delivery"] += "x-key" in request.headers
        task = service.find_task_to_deliver(task_id)
        if task is None or request.url.path not in {task.sample_path, task.cache_path}:
            return _azure_error(404, "BlobNotFound", "The specified blob does not exist.")
        reason = service.url_signer.explain_refusal(
            request.url.path, request.query_params, now=service.clock()
        )
        if reason:
            return _forbidden(reason)

        faults = {*_FAULT_RESPONSES, *_DAMAGES} if request.method == "GET" else set()
        fault = service.fault_counter.next_due(task.faults, faults, task_id)
        if fault and fault.name in _FAULT_RESPONSES:
            return _FAULT_RESPONSES[fault.name](fault, request)
        content, media_type = await _load_file(task, request.url.path, service.config.image_bytes)
        if fault:
            return _DAMAGES[fault.name](content, media_type=media_type)
        return file_response(
            content, media_type=media_type, modified_at=task.ends_at, request=request
        )

    return router


async def _load_file(task: Task, path: str, image_bytes: int | None) -> tuple[bytes, str]:
    """Return the bytes and the media type of the file at one of the paths of a task."""
    if path == task.cache_path and task.picture.clip is not None:
        cache = await run_in_thread(encode_draft_cache, task.picture, task.picture.clip)
        return cache, CACHE_TYPE
    content = await run_in_thread(render, _picture_to_deliver(task), image_bytes)
    return content, task.picture.content_type


def _picture_to_deliver(task: Task) -> Picture:
    picture = task.picture
    if "wrong-size" in task.faults:
        picture = replace(picture, width=picture.width // 2, height=picture.height // 2)
    if "wrong-format" in task.faults:
        picture = replace(picture, format=_OTHER_FORMAT[picture.format])
        if picture.clip is not None:
            picture = replace(picture, clip=None, inputs={})
    return picture


def _cut(content: bytes, *, media_type: str) -> Response:
    return Response(content[: len(content) // 2], media_type=media_type)


def _overwrite(content: bytes, *, media_type: str) -> Response:
    """Return a file whose head is intact and whose frames are overwritten."""
    quarter = len(content) // 4
    return Response(content[:quarter] + b"\xff" * (len(content) - quarter), media_type=media_type)


def _forbidden(reason: str) -> Response:
    message = "Server failed to authenticate the request. Make sure the signature is correct."
    return _azure_error(403, "AuthenticationFailed", message, reason)


def _azure_error(status: int, code: str, message: str, detail: str = "") -> Response:
    more = (
        f"<AuthenticationErrorDetail>{escape(detail)}</AuthenticationErrorDetail>" if detail else ""
    )
    body = (
        '<?xml version="1.0" encoding="utf-8"?>'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{more}</Error>"
    )
    return Response(body, status, media_type="application/xml", headers={"x-ms-error-code": code})


#: The response of each fault that replaces the file.
_FAULT_RESPONSES: Mapping[str, Callable[[Fault, Request], Response]] = {
    "expired": lambda *_: _forbidden("Signature not valid in the specified time frame"),
    "deliver-403": lambda *_: _forbidden("Signature fields not well formed."),
    "html": lambda *_: html_page(),
    "deliver-503": lambda fault, _: error_response(503, "Server busy", fault.seconds),
    "redirect-download": lambda fault, request: foreign_redirect(request),
    "bomb": lambda *_: bomb_response("image/jpeg"),
    "drip": lambda fault, _: dripping_response("image/jpeg", fault.seconds),
}
#: The response of each fault that damages the file.
_DAMAGES: Mapping[str, Callable[..., Response]] = {
    "truncate": BrokenResponse,
    "reset": partial(BrokenResponse, reset=True),
    "cut": _cut,
    "empty": lambda content, media_type: Response(b"", media_type=media_type),
    "damaged-video": _overwrite,
}
