"""Responses that serve a file as an object store does: validators, ranges and conditions."""

from __future__ import annotations

import hashlib
import re
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import Response

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def file_response(
    content: bytes, *, media_type: str, modified_at: float, request: Request
) -> Response:
    """Return a file, a part of it, or the answer to a condition.

    A request for several ranges gets the whole file, which HTTP allows.

    :param content: the whole file.
    :param media_type: its media type.
    :param modified_at: epoch seconds of its last change.
    :param request: the request, with ``Range``, ``If-Range``, ``If-None-Match`` and
        ``If-Modified-Since``.
    :return: status 200, 206, 304 or 416. The server leaves out the body for ``HEAD``.
    """
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "ETag": etag,
        "Last-Modified": formatdate(modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if _is_unchanged(request, headers):
        return Response(status_code=304, headers=headers)
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    is_whole = (
        request.method != "GET"
        or asked is None
        or request.headers.get("if-range", etag) not in (etag, headers["Last-Modified"])
    )
    bounds = None if is_whole or asked is None else _find_bounds(asked, len(content))
    if is_whole or asked is None or bounds == (0, 0):
        return Response(content, media_type=media_type, headers=headers)
    if bounds is None:
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Response(status_code=416, headers=headers)
    start, end = bounds
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(content[start:end], 206, media_type=media_type, headers=headers)


def _is_unchanged(request: Request, headers: dict[str, str]) -> bool:
    """Whether the client has the file already, by its conditions."""
    known = request.headers.get("if-none-match")
    if known is not None:
        tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
        return "*" in tags or headers["ETag"] in tags
    return request.headers.get("if-modified-since") == headers["Last-Modified"]


def _find_bounds(asked: re.Match[str], size: int) -> tuple[int, int] | None:
    """Return start and end of a range, ``None`` outside the file, ``(0, 0)`` if it is malformed."""
    first, last = asked.groups()
    if (not first and not last) or (first and last and int(last) < int(first)):
        return 0, 0
    if not first:
        return (max(size - int(last), 0), size) if int(last) else None
    if int(first) >= size:
        return None
    return int(first), min(int(last) + 1, size) if last else size
