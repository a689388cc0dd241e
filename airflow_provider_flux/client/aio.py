"""The asynchronous client of the BFL API, over aiohttp.

All clients of one account on one event loop share a session, so that a thousand triggers poll over
a few pooled connections instead of opening a thousand TLS sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from requests.utils import get_environ_proxies, select_proxy
from tenacity import AsyncRetrying

from airflow_provider_flux.bfl import delivery, http_errors, retries
from airflow_provider_flux.bfl.body import JsonBody
from airflow_provider_flux.bfl.errors import FluxError, FluxInsufficientCreditsError
from airflow_provider_flux.bfl.http_messages import HttpAnswer, HttpRequest
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.responses import GenerationResult, Submission
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client.answer_limits import AnswerBody
from airflow_provider_flux.client.base import BaseFluxClient, Call, Download, T, lost_submit
from airflow_provider_flux.client.shared_session import (
    AnswerLimit,
    SharedSession,
    acquire_session,
    release_session,
)
from airflow_provider_flux.client.wait import WaitLoop

#: Errors before the first byte of a request.
_NOTHING_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)


class FluxAsyncClient(BaseFluxClient):
    """Call the API of BFL on an event loop, for one account.

    Use it once, as an async context manager: ``async with FluxAsyncClient(settings) as client``.
    The first client of an account on a loop opens the session, and the last one closes it.

    :param settings: key, hosts and timeouts of the account.
    :param log: logger for retries and progress; ``None`` (default) logs nothing.
    """

    _shared: SharedSession

    def __init__(self, settings: FluxSettings, *, log: Any = None) -> None:
        super().__init__(settings, log=log)
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def __aenter__(self) -> Self:
        """Return the client, with the session of its account."""
        self._shared = await acquire_session(self.settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release the session."""
        await release_session(self.settings)

    async def submit(
        self,
        request: GenerationRequest,
        *,
        max_wait: float = 300.0,
        priority: Priority = "normal",
    ) -> Submission:
        """Submit one generation. **BFL bills this call.**

        See :meth:`FluxClient.submit` for the cases in which the request is sent again.

        :param request: the request, with its inputs read if it has any.
        :param max_wait: seconds to wait for a free slot while the account is at its limit of active
            generations (429), 300 by default. A last ``Retry-After`` of up to five minutes may be
            added.
        :param priority: ``high`` submits again soon after a 429, so that it gets the next free
            slot. Default ``normal``: the pauses grow.
        :raises FluxRequestError: if BFL refuses the request, or its inputs are not read yet.
        :raises FluxSubmitUncertainError: if the answer was lost.
        :raises FluxError: the other typed refusals; nothing was billed then.
        """
        self._log_warnings(request)
        return await AsyncRetrying(**self._submit_retries(max_wait, priority))(
            self.submit_once, request
        )

    async def submit_once(self, request: GenerationRequest) -> Submission:
        """Submit one generation with a single POST. **BFL bills this call.**

        :param request: the request, with its inputs read if it has any.
        :raises FluxRateLimitedError: if the account has too many active generations. Nothing was
            billed.
        :raises FluxConnectionError: if the request was not sent whole; nothing was billed.
        :raises FluxSubmitUncertainError: if the answer was lost.
        :raises FluxError: the other typed refusals; nothing was billed then.
        """
        call = self._submit_call(request)
        try:
            return await self._send(call)
        except FluxInsufficientCreditsError as error:
            if not retries.is_402_ambiguous(request):
                raise
            raise retries.resolve_402(error, request, balance=await self._read_balance()) from None
        except FluxError:
            raise
        except Exception as error:  # whatever it is, the request may have been sent
            raise lost_submit(call.request, error) from None

    async def poll(
        self, request_id: str, polling_url: str | None = None, *, max_seconds: float | None = None
    ) -> GenerationResult:
        """Ask once for the state of a generation, without retries. BFL does not bill it.

        :param request_id: id of the generation.
        :param polling_url: URL that the submit returned. A generation lives in one cluster of BFL:
            without the URL the host of the account is asked, which may not know the generation.
        :param max_seconds: seconds that the answer may take. ``read_timeout`` of the account limits
            them, too, and is the default.
        :raises FluxTransientError: if asking again may help.
        :raises FluxUntrustedURLError: if the key must not be sent to the URL.
        """
        return await self._send(self._poll_call(request_id, polling_url, max_seconds))

    async def wait(self, poller: Poller, polling_url: str | None) -> GenerationResult:
        """Poll a generation until it is ready.

        :param poller: decides when to poll and when to give up; it must not pause.
        :param polling_url: see :meth:`poll`.
        :raises FluxTimeoutError: at the deadline of the poller, after a last poll.
        :raises FluxModeratedError: if moderation refused the generation; other typed errors
            likewise.
        """
        result = await self.wait_or_pause(poller, polling_url)
        if result is None:
            raise ValueError("The poller pauses. Call wait_or_pause() instead.")
        return result

    async def wait_or_pause(
        self, poller: Poller, polling_url: str | None
    ) -> GenerationResult | None:
        """Poll a generation until it is ready, or until its poller pauses: then return ``None``.

        :param poller: decides when to poll, when to pause and when to give up.
        :param polling_url: see :meth:`poll`.
        :raises FluxTimeoutError: at the deadline of the poller, after a last poll.
        :raises FluxModeratedError: if moderation refused the generation; other typed errors
            likewise.
        """
        loop = WaitLoop(poller, self._log)
        while (delay := loop.next_delay()) is not None:
            await asyncio.sleep(delay)
            try:
                limit = loop.seconds_for_poll()
                loop.on_result(await self.poll(poller.request_id, polling_url, max_seconds=limit))
            except FluxError as error:
                loop.on_error(error)
        return loop.result

    async def get_result(self, request_id: str, polling_url: str | None = None) -> GenerationResult:
        """Ask for the state of a generation now, and retry transient errors. BFL does not bill it.

        :param request_id: id of the generation.
        :param polling_url: see :meth:`poll`.
        :raises FluxUntrustedURLError: if the key must not be sent to the URL.
        """
        return await self._read(self._poll_call(request_id, polling_url))

    async def download(
        self,
        sample: str,
        *,
        request_id: str | None = None,
        max_bytes: int = delivery.MAX_RESULT_BYTES,
    ) -> bytes:
        """Return the bytes behind a signed URL. A download that breaks off is started again.

        :param sample: ``GenerationResult.sample``, which names its own expiry.
        :param request_id: id of the generation, for errors.
        :param max_bytes: size from which on a result is not read further, 512 MiB by default.
        :raises FluxResultExpiredError: if BFL refuses the URL.
        :raises FluxUntrustedURLError: if the URL leads to a host that is not BFL's.
        :raises FluxImageError: if the result is larger than ``max_bytes``.
        :raises FluxServiceError: if the download broke off each time.
        """

        async def attempt() -> bytes:
            return await self._download_once(
                Download(sample, self.settings, request_id=request_id, max_bytes=max_bytes)
            )

        return await AsyncRetrying(**self._read_retries())(attempt)

    async def get_credits(self, *, retry: bool = True) -> float:
        """Return the balance of the account in credits (1 credit = 0.01 USD).

        :param retry: whether to retry transient errors, ``True`` by default.
        """
        call = self._credits_call()
        return await (self._read(call) if retry else self._send(call))

    async def get_my_finetunes(self) -> list[Any]:
        """Return the finetunes of the account, as BFL lists them."""
        return await self._read(self._finetunes_call())

    async def get_finetune_details(self, finetune_id: str) -> dict[str, Any]:
        """Return the training parameters of a finetune.

        :param finetune_id: id of the finetune.
        :raises FluxRequestError: if the account has no finetune with that id.
        """
        return await self._read(self._finetune_call(finetune_id))

    async def delete_finetune(self, finetune_id: str) -> dict[str, Any]:
        """Delete a finetune for good and return BFL's confirmation.

        :param finetune_id: id of the finetune.
        :raises FluxRequestError: if the account has no finetune with that id.
        :raises FluxServiceError: if the answer was lost. :meth:`get_my_finetunes` shows whether it
            was deleted.
        """
        return await self._send(self._delete_finetune_call(finetune_id))

    async def report_license_usage(self, model: str, number_of_generations: int) -> None:
        """Report images made with open weights under a licence.

        The report is sent once. If its answer was lost, it may have been counted.

        :param model: ``flux-1-dev``, ``flux-1-kontext-dev``, ``flux-1-krea-dev`` or ``flux-tools``.
        :param number_of_generations: images since the last report, 1 or more.
        :raises FluxRequestError: if the model or the number is refused.
        :raises FluxServiceError: if the answer was lost.
        """
        await self._send(self._usage_call(model, number_of_generations))

    async def _send(self, call: Call[T]) -> T:
        while True:
            answer = await self._exchange(call.request)
            redirected = call.redirected(answer)
            if redirected is None:
                return call.read(answer)
            call = redirected

    async def _read(self, call: Call[T]) -> T:
        """Send a request that only reads, and retry transient errors."""
        return await AsyncRetrying(**self._read_retries())(self._send, call)

    async def _read_balance(self) -> float | None:
        try:
            return await self.get_credits()
        except FluxError:
            return None

    async def _exchange(self, request: HttpRequest) -> HttpAnswer:
        """Send one request to the API and return the answer; see :meth:`RequestsTransport.send`."""
        request.reset()
        limit = AnswerLimit(min(self.settings.read_timeout, request.timeout or float("inf")))
        try:
            async with (
                self._shared.calls,
                limit,
                self._shared.session.request(
                    request.method,
                    request.url,
                    headers=_headers(request),
                    data=_stream(request.body, limit),
                    proxy=self._proxy_for(request.url),
                    allow_redirects=False,
                ) as response,
            ):
                body = AnswerBody(response.headers.get("Content-Encoding"))
                while not response.content.at_eof():
                    chunk = await response.content.readany()
                    limit.add(len(chunk))
                    if not body.add(chunk):
                        break
                return HttpAnswer(
                    response.status, response.headers, body.get(), self.settings.secrets
                )
        except FluxError:
            raise  # of the body, while it was read
        except Exception as error:
            raise http_errors.network_error(
                request, type(error).__name__, nothing_sent=isinstance(error, _NOTHING_SENT)
            ) from None

    async def _download_once(self, download: Download) -> bytes:
        while True:
            url = download.next_url()
            limit = AnswerLimit(self.settings.read_timeout)
            with download.typed_errors():
                async with self._shared.downloads, limit, self._open(url, limit) as response:
                    if download.is_redirected(response.status, response.headers):
                        continue
                    while not response.content.at_eof():
                        chunk = await response.content.readany()
                        limit.add(len(chunk))
                        download.add(chunk)
                    return download.content()

    def _open(
        self, url: str, limit: AnswerLimit
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        limit.start()
        return self._shared.session.get(
            url, headers=delivery.HEADERS, proxy=self._proxy_for(url), allow_redirects=False
        )

    def _proxy_for(self, url: str) -> str | None:
        """Choose the proxy as requests does, so that worker and triggerer behave the same.

        ``trust_env`` of aiohttp costs two hops through a thread pool for each poll.
        """
        if self.settings.proxy:
            return self.settings.proxy
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        if origin not in self._proxies:
            self._proxies[origin] = select_proxy(url, get_environ_proxies(url))
        return self._proxies[origin]


def _headers(request: HttpRequest) -> Mapping[str, str]:
    if request.body is None:
        return request.headers
    return {**request.headers, "content-length": str(len(request.body))}


def _stream(body: bytes | JsonBody | None, limit: AnswerLimit) -> AsyncIterator[bytes] | None:
    """Return the body as aiohttp takes it. The time of the answer begins when it is sent."""
    if body is None:
        limit.start()
        return None
    return _read_pieces(body, limit) if isinstance(body, JsonBody) else _send_whole(body, limit)


async def _send_whole(body: bytes, limit: AnswerLimit) -> AsyncIterator[bytes]:
    yield body
    limit.start()


async def _read_pieces(body: JsonBody, limit: AnswerLimit) -> AsyncIterator[bytes]:
    """Read and encode the files of a body in a thread, piece by piece."""
    pieces = iter(body)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
    limit.start()
