"""Sessions of aiohttp that all asynchronous clients of one account share on an event loop.

A thousand triggers poll over a few pooled connections, instead of opening a thousand TLS sessions.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import certifi

from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client.answer_limits import MAX_ANSWER_SECONDS, AnswerTime

#: Requests to the API at once. Polls are short, so a few connections serve many triggers: if an
#: answer takes 0.1 s, 240 active generations need about 50 of them, for 500 polls a second.
MAX_CALLS = 100
#: Downloads at once, each with its result in memory.
MAX_DOWNLOADS = 32


class AnswerLimit:
    """A limit for the time of one answer, as an asynchronous context manager.

    It begins with :meth:`start`: for a request that only reads, before it is sent; for one with a
    body, after that was sent. A submit that is cut short counts as billed, so it must not be cut
    short while it waits for its connection.

    :param timeout: see :class:`AnswerTime`.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._limit = asyncio.timeout(None)
        self._watch: _AnswerWatch | None = None
        self._time: AnswerTime | None = None
        self._is_over = False

    async def __aenter__(self) -> None:
        """Enter the context. Nothing is limited yet."""
        await self._limit.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        """Leave the context.

        :raises TimeoutError: if the time was over.
        """
        self._is_over = True
        self._end()
        await self._limit.__aexit__(*error)

    def start(self) -> None:
        """Begin, unless the answer came before the whole body was sent."""
        if self._is_over:
            return
        self._time = AnswerTime(self._timeout)
        self._watch = _watch_of_loop()
        self._watch.add(self, self._timeout)

    def add(self, size: int) -> None:
        """Count bytes that arrived.

        :param size: their number.
        """
        if self._time is not None:
            self._time.add(size)

    def check(self) -> float:
        """Return the seconds that are left; end the answer if there are none."""
        left = float("inf") if self._time is None else self._time.left()
        if left <= 0:
            self._limit.reschedule(asyncio.get_running_loop().time())
            self._end()
        return left

    def _end(self) -> None:
        self._time = None
        if self._watch is not None:
            self._watch.discard(self)
            self._watch = None


class _AnswerWatch:
    """The watch over all answers of a loop.

    One timer serves all of them: an answer that comes in time, as nearly all do, costs none. The
    watch keeps no reference to its loop, which would keep the loop alive.
    """

    def __init__(self) -> None:
        self._limits: set[AnswerLimit] = set()
        self._due = float("inf")

    def add(self, limit: AnswerLimit, seconds: float) -> None:
        """Watch an answer.

        :param limit: its limit, which has begun.
        :param seconds: seconds until it is to be checked.
        """
        self._limits.add(limit)
        self._check_after(seconds)

    def discard(self, limit: AnswerLimit) -> None:
        """Forget an answer.

        :param limit: its limit.
        """
        self._limits.discard(limit)

    def _check_after(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if due < self._due:
            self._due = due
            loop.call_at(due, self._check_all)

    def _check_all(self) -> None:
        self._due = float("inf")
        checked = [limit.check() for limit in list(self._limits)]
        if self._limits:
            self._check_after(max(min(checked), _MIN_CHECK_SECONDS))


def _watch_of_loop() -> _AnswerWatch:
    loop = asyncio.get_running_loop()
    watch = _WATCHES.get(loop)
    if watch is None:
        watch = _WATCHES[loop] = _AnswerWatch()
    return watch


@dataclass
class SharedSession:
    """The session of an account on one event loop.

    :param session: the session. It opens a connection for each request at once.
    :param calls: turns of the requests to the API. The wait for a turn is no part of the time of an
        answer.
    :param downloads: turns of the downloads, likewise.
    :param users: clients that use it now.
    """

    session: aiohttp.ClientSession
    calls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CALLS))
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_DOWNLOADS))
    users: int = 0


#: Shortest time between two checks of all answers.
_MIN_CHECK_SECONDS = 0.01
#: The watch of each loop.
_WATCHES: WeakKeyDictionary[asyncio.AbstractEventLoop, _AnswerWatch] = WeakKeyDictionary()
#: Weak, so that the entries of a loop go with it if it was closed before its clients.
_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[FluxSettings, SharedSession]] = (
    WeakKeyDictionary()
)


async def acquire_session(settings: FluxSettings) -> SharedSession:
    """Return the session that all clients of these settings share on the running loop.

    :param settings: key, hosts and timeouts of the account.
    """
    sessions = _SESSIONS.setdefault(asyncio.get_running_loop(), {})
    if settings not in sessions:
        tls = await asyncio.to_thread(_tls_context)
        if settings not in sessions:  # another client may have opened it meanwhile
            sessions[settings] = SharedSession(_open_session(settings, tls))
    shared = sessions[settings]
    shared.users += 1
    return shared


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
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),  # the turns limit them
        timeout=aiohttp.ClientTimeout(
            total=max(MAX_ANSWER_SECONDS, settings.read_timeout),
            sock_connect=settings.connect_timeout,
            sock_read=settings.read_timeout,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # it would decode any number of bytes
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
