"""Sessions of aiohttp that all asynchronous clients of one account share on an event loop.

A thousand triggers poll over a few pooled connections, instead of opening a thousand TLS sessions.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import aiohttp
import certifi

from airflow_provider_flux.bfl.settings import FluxSettings

#: Pooled connections of one session. Polls are short, so a few connections serve many triggers.
_MAX_CONNECTIONS = 32
#: Longest duration of a whole exchange, beside the connect and read timeouts of the account.
_EXCHANGE_SECONDS = 300.0


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
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, ssl=tls),
        timeout=aiohttp.ClientTimeout(
            total=_EXCHANGE_SECONDS,
            sock_connect=settings.connect_timeout,
            sock_read=settings.read_timeout,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
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
