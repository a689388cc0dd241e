"""HTTP answers the routes share: errors, pages, and answers whose connection breaks."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

#: A host that is never BFL's: where redirects and forged URLs point.
FOREIGN_ORIGIN = "https://evil.example"
# The scope's state is the lifespan state of the server, which server.py completes with this.
CONNECTION_KEY = "flux_emulator_connection"

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def error(status: int, detail: Any, retry_after: float | None = None) -> JSONResponse:
    """Answer with an error in FastAPI's shape."""
    return JSONResponse({"detail": detail}, status, headers=_retry_after(retry_after))


def html_page() -> HTMLResponse:
    """Answer 200 with a page, as a proxy or a login wall does."""
    return HTMLResponse("<!doctype html><html><body><h1>Please wait</h1></body></html>")


def foreign_redirect(request: Request) -> RedirectResponse:
    """Redirect the same path and query to another host."""
    return RedirectResponse(f"{FOREIGN_ORIGIN}{request.url.path}?{request.url.query}", 302)


class BrokenResponse(Response):
    """An answer of which only the first half arrives.

    :param reset: reset the connection (``ECONNRESET``) instead of closing it in order.
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
        if (
            protocol is None
        ):  # another server than ours: it closes on an incomplete answer, with a complaint
            return
        _break(protocol.transport, reset=self._reset)
        while (await receive())["type"] != "http.disconnect":
            pass


def _break(transport: asyncio.Transport, *, reset: bool) -> None:
    if not reset:
        transport.close()
        return
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
    )
    transport.abort()


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": f"{seconds:g}"}
