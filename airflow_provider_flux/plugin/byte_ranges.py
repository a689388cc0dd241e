"""Answers with the bytes of an object: whole, a range of it, or that the browser has it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from airflow_provider_flux.plugin.headers import OBJECT_POLICY
from airflow_provider_flux.plugin.stored_objects import PART_BYTES, StoredObject
from airflow_provider_flux.plugin.workers import in_store_thread

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})\Z")
#: A browser asks again after an hour, or if another user logs in.
_CACHE_CONTROL = "private, max-age=3600"


def answer_with(found: StoredObject, request: Request) -> Response:
    """Return the answer to a request for an object.

    :param found: the object.
    :param request: the request, whose ``If-None-Match``, ``If-Range`` and ``Range`` count.
    """
    if has_version(request, found.etag):
        return not_modified(found.etag)
    headers = {
        **_headers(found.etag),
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": OBJECT_POLICY,
        "Content-Disposition": "inline",
        # Else Airflow compresses it: of no use, and a range would not be one any more.
        "Content-Encoding": "identity",
    }
    chosen = _chosen_range(request, found)
    if chosen is None:
        headers["Content-Range"] = f"bytes */{found.size}"
        return Response(status_code=416, headers=headers)
    start, end = chosen
    is_whole = (start, end) == (0, found.size)
    if not is_whole:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    headers["Content-Length"] = str(end - start)
    parts = _nothing() if request.method == "HEAD" else _parts(found, start, end)
    return StreamingResponse(
        parts, 200 if is_whole else 206, headers=headers, media_type=found.content_type
    )


def has_version(request: Request, etag: str | None) -> bool:
    """Whether the browser has this version of an object.

    :param request: the request.
    :param etag: text that identifies the version; ``None`` if it is not known.
    """
    known = request.headers.get("if-none-match", "")
    # A proxy that compresses marks a tag as weak.
    tags = {part.strip().removeprefix("W/") for part in known.split(",")}
    return etag is not None and f'"{etag}"' in tags


def not_modified(etag: str) -> Response:
    """Return the answer that the browser has this version of an object.

    :param etag: text that identifies the version.
    """
    return Response(status_code=304, headers=_headers(etag))


def _headers(etag: str) -> dict[str, str]:
    return {"ETag": f'"{etag}"', "Cache-Control": _CACHE_CONTROL}


def _chosen_range(request: Request, found: StoredObject) -> tuple[int, int] | None:
    """Return start and end of the bytes to send; ``None`` if there are none in the range.

    A header with several ranges, or of another version, counts as none, as HTTP allows.
    """
    whole = (0, found.size)
    match = _RANGE.match(request.headers.get("range", "").replace(" ", ""))
    other = request.headers.get("if-range")
    if match is None or not any(match.groups()) or (other and other != f'"{found.etag}"'):
        return whole
    first, last = match.groups()
    if not first:
        start, end = max(found.size - int(last), 0), found.size
    else:
        start, end = int(first), min(int(last) + 1 if last else found.size, found.size)
    return (start, end) if start < end else None


async def _parts(found: StoredObject, start: int, end: int) -> AsyncIterator[bytes]:
    for first in range(start, end, PART_BYTES):
        last = min(first + PART_BYTES, end)
        yield await in_store_thread(found.part, first, last)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
