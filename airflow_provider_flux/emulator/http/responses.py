"""Responses that several routes share: errors, pages, and responses that break the connection."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.types import Receive, Scope, Send

#: An origin that is never BFL's. Redirects and forged URLs point to it.
FOREIGN_ORIGIN = "https://evil.example"
#: The key of the connection in the state of a request's scope. ``server.py`` sets it.
CONNECTION_KEY = "flux_emulator_connection"

_MIB = 1024 * 1024
_BOMB_MIB = 256
_DRIP_SECONDS = 0.5
_DRIP_TOTAL_SECONDS = 600.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def error_response(status: int, detail: Any, retry_after: float | None = None) -> JSONResponse:
    """Return an error in the shape of FastAPI.

    :param status: HTTP status.
    :param detail: value of ``detail`` in the body.
    :param retry_after: seconds for the ``Retry-After`` header; ``None`` sends none.
    """
    return JSONResponse({"detail": detail}, status, headers=_retry_after_header(retry_after))


def raw_json(body: Any, status: int = 200) -> Response:
    """Return a JSON response that may hold NaN and Infinity, which ``JSONResponse`` refuses.

    :param body: the value.
    :param status: HTTP status.
    """
    return Response(json.dumps(body), status, media_type="application/json")


def html_page() -> HTMLResponse:
    """Return a page with status 200, as a proxy or a login wall does."""
    return HTMLResponse("<!doctype html><html><body><h1>Please wait</h1></body></html>")


def foreign_redirect(request: Request) -> RedirectResponse:
    """Return a redirect to the same path and query on a foreign host.

    :param request: the request to redirect.
    """
    return RedirectResponse(f"{FOREIGN_ORIGIN}{request.url.path}?{request.url.query}", 302)


def bomb_response(media_type: str) -> Response:
    """Return a small compressed body that fills 256 MiB.

    :param media_type: MIME type of the body; JSON is a text within quotes.
    """
    quote = b'"' if media_type == "application/json" else b""
    return Response(
        _compress_bomb(quote), media_type=media_type, headers={"Content-Encoding": "gzip"}
    )


@cache
def _compress_bomb(quote: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)  # with the head of gzip
    parts = [compressor.compress(part) for part in (quote, *[b"0" * _MIB] * _BOMB_MIB, quote)]
    return b"".join(parts) + compressor.flush()


def dripping_response(media_type: str, seconds: float | None) -> Response:
    """Return a body that arrives byte by byte, for ten minutes.

    :param media_type: MIME type of the body.
    :param seconds: seconds before each byte; ``None`` is half a second.
    """
    pause = _DRIP_SECONDS if seconds is None else max(seconds, 0.001)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(int(_DRIP_TOTAL_SECONDS / pause)):
            yield b" "
            await asyncio.sleep(pause)

    return StreamingResponse(drip(), media_type=media_type)


class BrokenResponse(Response):
    """A response of which only the first half arrives.

    :param content: the whole body.
    :param media_type: MIME type of the body.
    :param reset: resets the connection (``ECONNRESET``) instead of closing it in order.
    """

    def __init__(self, content: bytes, *, media_type: str, reset: bool = False) -> None:
        super().__init__(content, media_type=media_type)
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and half the body, then break the connection."""
        body = bytes(self.body)
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        await send(
            {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
        )
        protocol = scope.get("state", {}).get(CONNECTION_KEY)
        if protocol is None:  # not our server; others log an error and close the connection
            return
        _break_connection(protocol.transport, reset=self._reset)
        while (await receive())["type"] != "http.disconnect":
            pass


def _break_connection(transport: asyncio.Transport, *, reset: bool) -> None:
    if not reset:
        transport.close()
        return
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
    )
    transport.abort()


def _retry_after_header(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": f"{seconds:g}"}
