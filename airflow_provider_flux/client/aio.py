"""The async client over aiohttp, for the triggerer: same protocol and policies as the hook.

All users of one account on one event loop share a session, so that a thousand triggers poll over a
few pooled connections instead of opening a thousand TLS sessions.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urljoin, urlsplit
from weakref import WeakKeyDictionary

import aiohttp
import certifi
from requests.utils import get_environ_proxies, select_proxy
from tenacity import AsyncRetrying

from airflow_provider_flux.bfl import account, delivery, protocol, retries
from airflow_provider_flux.bfl.body import JsonBody
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.polling import Done, Failed, PollAgain, Poller
from airflow_provider_flux.bfl.protocol import HttpAnswer, HttpRequest
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.responses import GenerationResult, Submission
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.url_trust import check_delivery_url

#: Pooled connections of one session. Polls are short, so a few connections serve many triggers.
_CONNECTIONS = 32
#: Longest a whole exchange may take, beside the connect and read timeouts of the connection.
_TOTAL_SECONDS = 300.0
_NOTHING_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)


class FluxAsyncClient:
    """Talk to one BFL account on an event loop. Get one from :func:`open_async_client`."""

    def __init__(self, settings: FluxSettings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self._session = session
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def submit(self, request: GenerationRequest, *, max_wait: float = 300.0) -> Submission:
        """Submit one generation, which BFL bills; see :meth:`FluxHook.submit` for what is sent again.

        :param request: with its inputs read, if it has any: ``FluxHook.prepared`` does that, on a thread.
        """
        return await AsyncRetrying(**retries.submit_retries(max_wait))(self.submit_once, request)

    async def submit_once(self, request: GenerationRequest) -> Submission:
        """Submit with a single POST. **This is what BFL bills.**

        :raises FluxRateLimitedError: if the account is at its task limit; nothing was paid.
        :raises FluxConnectionError: if nothing was sent.
        :raises FluxSubmitUncertainError: if the answer was lost; other typed errors likewise.
        """
        if not request.is_prepared and any(
            request.parameters.get(name) for name in request.media_fields
        ):
            raise FluxRequestError(
                f"The inputs of {request.model} are not read yet: use FluxHook.prepared(request)."
            )
        described = protocol.submit_request(request, self.settings)
        try:
            return protocol.read_submission(await self._send(described), request, now=time.time())
        except FluxInsufficientCreditsError as error:
            if not retries.is_402_ambiguous(request):
                raise
            raise retries.resolve_402(error, request, balance=await self._balance()) from None

    async def _balance(self) -> float | None:
        try:
            return await self.get_credits()
        except FluxError:
            return None

    async def poll(self, request_id: str, polling_url: str | None = None) -> GenerationResult:
        """Ask once where a generation stands, without retrying.

        :raises FluxTransientError: if asking again may help.
        """
        described = protocol.poll_request(request_id, polling_url, self.settings)
        return protocol.read_result(await self._send(described))

    async def wait(self, poller: Poller, polling_url: str | None) -> GenerationResult:
        """Poll until the generation is ready.

        :raises FluxTimeoutError: at the poller's deadline, after a last poll.
        :raises FluxModeratedError: if moderation refused it; other typed errors likewise.
        """
        delay = poller.first_wait(time.time())
        while True:
            await asyncio.sleep(delay)
            try:
                outcome = poller.on_result(
                    await self.poll(poller.request_id, polling_url), time.time()
                )
            except FluxError as error:
                outcome = poller.on_error(error, time.time())
            if isinstance(outcome, Done):
                return outcome.result
            if isinstance(outcome, Failed):
                raise outcome.error
            delay = outcome.seconds if isinstance(outcome, PollAgain) else 0.0

    async def get_credits(self) -> float:
        """Return the balance of the account in credits. Free."""

        async def once() -> float:
            return account.read_credits(await self._send(account.credits_request(self.settings)))

        return await AsyncRetrying(**retries.read_retries())(once)

    async def download(
        self,
        sample: str,
        *,
        request_id: str | None = None,
        max_bytes: int = delivery.MAX_RESULT_BYTES,
    ) -> bytes:
        """Read the bytes behind a signed URL; see :meth:`FluxHook.download`."""

        async def once() -> bytes:
            return await self._download(sample, request_id, max_bytes)

        return await AsyncRetrying(**retries.read_retries())(once)

    async def _send(self, request: HttpRequest) -> HttpAnswer:
        request.reset()
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers=_headers(request),
                data=_stream(request.body) if isinstance(request.body, JsonBody) else request.body,
                proxy=self._proxy_for(request.url),
                allow_redirects=False,
            ) as response:
                return HttpAnswer(
                    response.status, response.headers, await response.read(), self.settings.secrets
                )
        except Exception as error:
            nothing_sent = isinstance(error, _NOTHING_SENT)
            raise protocol.network_error(
                request, type(error).__name__, nothing_sent=nothing_sent
            ) from None

    def _get(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.get(
            url, headers=delivery.HEADERS, proxy=self._proxy_for(url), allow_redirects=False
        )

    def _proxy_for(self, url: str) -> str | None:
        """Choose the proxy as requests does, so that a task behaves the same on worker and triggerer.

        aiohttp's own ``trust_env`` costs two hops through a thread pool for each poll.
        """
        if self.settings.proxy:
            return self.settings.proxy
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        if origin not in self._proxies:
            self._proxies[origin] = select_proxy(url, get_environ_proxies(url))
        return self._proxies[origin]

    async def _download(self, url: str, request_id: str | None, max_bytes: int) -> bytes:
        for _ in range(delivery.MAX_REDIRECTS + 1):
            check_delivery_url(url, self.settings)
            try:
                async with self._get(url) as response:
                    location = response.headers.get("Location")
                    if 300 <= response.status < 400 and location:
                        url = urljoin(url, location)
                        continue
                    error = delivery.download_error(
                        response.status, response.headers, request_id=request_id
                    )
                    if error:
                        raise error
                    body = delivery.BodyBuffer(max_bytes)
                    async for chunk in response.content.iter_chunked(delivery.CHUNK_BYTES):
                        body.add(chunk)
                    return body.get()
            except FluxError:
                raise
            except Exception as error:
                raise delivery.broken_download_error(url, type(error).__name__) from None
        raise delivery.redirect_error(url)


@dataclass
class _Shared:
    session: aiohttp.ClientSession
    users: int = 0


# Weak, so that a loop that was closed under its users takes its entries along.
_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[FluxSettings, _Shared]] = (
    WeakKeyDictionary()
)


@asynccontextmanager
async def open_async_client(settings: FluxSettings) -> AsyncIterator[FluxAsyncClient]:
    """Yield a client over the session that all users of these settings on this loop share.

    The session is opened by the first user and closed by the last.
    """
    sessions = _SESSIONS.setdefault(asyncio.get_running_loop(), {})
    if settings not in sessions:
        tls = await asyncio.to_thread(_tls_context)
        if settings not in sessions:  # another user may have opened it meanwhile
            sessions[settings] = _Shared(_open_session(settings, tls))
    shared = sessions[settings]
    shared.users += 1
    try:
        yield FluxAsyncClient(settings, shared.session)
    finally:
        shared.users -= 1
        if not shared.users:
            del sessions[settings]
            await shared.session.close()


def _headers(request: HttpRequest) -> dict[str, str]:
    length = (
        {"content-length": str(len(request.body))} if isinstance(request.body, JsonBody) else {}
    )
    return {**request.headers, **length}


async def _stream(body: JsonBody) -> AsyncIterator[bytes]:
    """Read and encode the files of a body off the loop, piece by piece."""
    pieces = iter(body)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece


def _open_session(settings: FluxSettings, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=tls),
        timeout=aiohttp.ClientTimeout(
            total=_TOTAL_SECONDS,
            sock_connect=settings.connect_timeout,
            sock_read=settings.read_timeout,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """Trust what requests trusts, so that a task behaves the same on worker and triggerer.

    Reading the certificates takes tens of milliseconds: once per process, and off the loop.
    """
    bundle = (
        os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    )
    folder = os.path.isdir(bundle)
    return ssl.create_default_context(
        capath=bundle if folder else None, cafile=None if folder else bundle
    )
