"""Headers of every answer: no script but ours, no other site, no cache that users share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Everything comes from this server. No script or style is inline.
PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "base-uri 'none'",
    ]
)
#: An image that a browser opens by itself runs nothing and reaches nothing.
OBJECT_POLICY = "default-src 'none'; frame-ancestors 'self'; sandbox"

_DEFAULTS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "private, no-store",
    "Vary": "Cookie, Authorization",
}


class SecurityHeaders:
    """ASGI middleware that adds these headers, unless the answer has set them.

    :param app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        :param scope: the connection, as ASGI describes it.
        :param receive: returns the next event of the client.
        :param send: sends an event to the client.
        """
        is_http = scope["type"] == "http"
        await self._app(scope, receive, _add_headers(send) if is_http else send)


def _add_headers(send: Send) -> Callable[[MutableMapping[str, Any]], Awaitable[None]]:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _DEFAULTS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
