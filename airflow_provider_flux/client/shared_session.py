"""Sessions of aiohttp that all asynchronous clients of one account share on an event loop.

A thousand triggers poll over a few pooled connections, instead of opening a thousand TLS sessions.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import certifi

from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client.answer_limits import MAX_ANSWER_SECONDS, AnswerTime

#: Pooled connections of one session. Polls are short, so a few connections serve many triggers.
_MAX_CONNECTIONS = 32


class AnswerLimit:
    """A limit for the time of one answer, as an asynchronous context manager.

    It begins when the headers of the request are sent, or its body if that is streamed. The wait
    for a pooled connection does not count.

    :param timeout: see :class:`AnswerTime`.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._limit = asyncio.timeout(None)
        self._time: AnswerTime | None = None
        self._is_held = False

    async def __aenter__(self) -> None:
        """Enter the context. Nothing is limited yet."""
        await self._limit.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        """Leave the context.

        :raises TimeoutError: if the time was over.
        """
        await self._limit.__aexit__(*error)

    def hold(self) -> None:
        """Wait with the begin for the end of a streamed body."""
        self._is_held = True
        self._time = None
        self._limit.reschedule(None)

    def on_headers_sent(self) -> None:
        """Begin, if the body is not streamed."""
        if not self._is_held:
            self.start()

    def start(self) -> None:
        """Begin."""
        self._time = AnswerTime(self._timeout)
        self._reschedule(self._time)

    def add(self, size: int) -> None:
        """Count bytes that arrived.

        :param size: their number.
        """
        if self._time is not None:
            self._time.add(size)
            self._reschedule(self._time)

    def _reschedule(self, answer: AnswerTime) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time() + answer.left())


async def _on_headers_sent(_session: object, context: Any, _headers: object) -> None:
    context.trace_request_ctx.on_headers_sent()


@dataclass
class _SharedSession:
    session: aiohttp.ClientSession
    users: int = 0


#: Weak, so that the entries of a loop go with it if it was closed before its clients.
_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[FluxSettings, _SharedSession]] = (
    WeakKeyDictionary()
)


async def acquire_session(settings: FluxSettings) -> aiohttp.ClientSession:
    """Return the session that all clients of these settings share on the running loop.

    :param settings: key, hosts and timeouts of the account.
    """
    sessions = _SESSIONS.setdefault(asyncio.get_running_loop(), {})
    if settings not in sessions:
        tls = await asyncio.to_thread(_tls_context)
        if settings not in sessions:  # another client may have opened it meanwhile
            sessions[settings] = _SharedSession(_open_session(settings, tls))
    shared = sessions[settings]
    shared.users += 1
    return shared.session


async def release_session(settings: FluxSettings) -> None:
    """Close the session if its last client leaves.

    :param settings: settings with which the session was acquired.
    """
    sessions = _SESSIONS[asyncio.get_running_loop()]
    shared = sessions[settings]
    shared.users -= 1
    if not shared.users:
        del sessions[settings]
        await shared.session.close()


def _open_session(settings: FluxSettings, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_on_headers_sent)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, ssl=tls),
        timeout=aiohttp.ClientTimeout(
            total=max(MAX_ANSWER_SECONDS, settings.read_timeout),
            sock_connect=settings.connect_timeout,
            sock_read=settings.read_timeout,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # it would decode any number of bytes
        trace_configs=[trace],
    )


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """Trust the certificates that requests trusts, so that worker and triggerer behave the same.

    Reading the certificates takes tens of milliseconds: once per process, and off the loop.
    """
    bundle = (
        os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    )
    is_folder = os.path.isdir(bundle)
    return ssl.create_default_context(
        capath=bundle if is_folder else None, cafile=None if is_folder else bundle
    )
