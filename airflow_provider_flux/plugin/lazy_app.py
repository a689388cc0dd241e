"""The application of the plugin, which is imported with its first request.

Airflow loads plugins in every component. FastAPI belongs to the API server alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class LazyApp:
    """ASGI application that stands for :func:`~airflow_provider_flux.plugin.app.create_app`."""

    def __init__(self) -> None:
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        :param scope: the connection, as ASGI describes it.
        :param receive: returns the next event of the client.
        :param send: sends an event to the client.
        """
        app = self._app
        if app is None:
            # In a thread, because the import takes a while. A second request may build it as well.
            app = self._app = await asyncio.to_thread(_create_app)
        await app(scope, receive, send)


def _create_app() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    from airflow_provider_flux.plugin.app import create_app

    return create_app()
