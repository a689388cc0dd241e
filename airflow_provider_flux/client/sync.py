"""The synchronous client of the BFL API, over requests."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, Self

from tenacity import Retrying

from airflow_provider_flux.bfl import delivery, retries
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxInsufficientCreditsError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.responses import GenerationResult, Submission
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client.base import (
    BaseFluxClient,
    Call,
    Download,
    NullObserver,
    SubmitObserver,
    T,
    lost_submit,
)
from airflow_provider_flux.client.transport import RequestsTransport, read_chunks
from airflow_provider_flux.client.wait import WaitLoop


class FluxClient(BaseFluxClient):
    """Call the API of BFL on this thread, for one account. Threads may share a client.

    Use it as a context manager, or call :meth:`close`, to close its pooled connections.

    :param settings: key, hosts and timeouts of the account.
    :param log: logger for retries and progress; ``None`` (default) logs nothing.
    :param interruptions: types of exceptions, beside :class:`Exception`, that may end a call from
        outside, for example the timeout of a task. A submit that one of them ends after the request
        was sent is uncertain.
    """

    def __init__(
        self,
        settings: FluxSettings,
        *,
        log: Any = None,
        interruptions: tuple[type[BaseException], ...] = (),
    ) -> None:
        super().__init__(settings, log=log)
        self._interruptions = interruptions
        self._transport = RequestsTransport(settings)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pooled connections."""
        self.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def submit(
        self,
        request: GenerationRequest,
        *,
        max_wait: float = 300.0,
        observer: SubmitObserver | None = None,
        priority: Priority = "normal",
    ) -> Submission:
        """Submit one generation. **BFL bills this call.**

        The request is sent again only after a 429, or if BFL cannot have read a whole request.
        Nothing was billed then. If the answer is lost in any other way, the call fails: BFL has no
        idempotency key. A 402 for a video counts as a 429 if the account has enough credits.

        :param request: the request, with its inputs read if it has any.
        :param max_wait: seconds to wait for a free slot while the account is at its limit of active
            generations (429), 300 by default. A last ``Retry-After`` of up to five minutes may be
            added.
        :param observer: object that is called around each POST.
        :param priority: ``high`` submits again soon after a 429, so that it gets the next free
            slot. Default ``normal``: the pauses grow.
        :raises FluxRequestError: if BFL refuses the request, or its inputs are not read yet.
        :raises FluxSubmitUncertainError: if the answer was lost.
        :raises FluxError: the other typed refusals; nothing was billed then.
        """
        self._log_warnings(request)
        observer = observer or NullObserver()
        refusals: tuple[type[BaseException], ...] = (FluxError, *self._interruptions)

        def attempt() -> Submission:
            try:
                observer.before_post()
                return self.submit_once(request)
            except FluxSubmitUncertainError:
                raise
            except refusals as error:
                observer.after_refusal(error)
                raise

        return Retrying(**self._submit_retries(max_wait, priority))(attempt)

    def submit_once(self, request: GenerationRequest) -> Submission:
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
            return self._send(call)
        except FluxInsufficientCreditsError as error:
            if not retries.is_402_ambiguous(request):
                raise
            raise retries.resolve_402(error, request, balance=self._read_balance()) from None
        except FluxError:
            raise
        except self._interruptions as error:
            raise lost_submit(call.request, error, is_interruption=True) from None
        except Exception as error:  # whatever it is, the request may have been sent
            raise lost_submit(call.request, error) from None

    def poll(
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
        return self._send(self._poll_call(request_id, polling_url, max_seconds))

    def wait(self, poller: Poller, polling_url: str | None) -> GenerationResult:
        """Poll a generation until it is ready.

        :param poller: decides when to poll and when to give up; it must not pause.
        :param polling_url: see :meth:`poll`.
        :raises FluxTimeoutError: at the deadline of the poller, after a last poll.
        :raises FluxModeratedError: if moderation refused the generation; other typed errors
            likewise.
        """
        result = self.wait_or_pause(poller, polling_url)
        if result is None:
            raise ValueError("The poller pauses. Call wait_or_pause() instead.")
        return result

    def wait_or_pause(self, poller: Poller, polling_url: str | None) -> GenerationResult | None:
        """Poll a generation until it is ready, or until its poller pauses: then return ``None``.

        :param poller: decides when to poll, when to pause and when to give up.
        :param polling_url: see :meth:`poll`.
        :raises FluxTimeoutError: at the deadline of the poller, after a last poll.
        :raises FluxModeratedError: if moderation refused the generation; other typed errors
            likewise.
        """
        loop = WaitLoop(poller, self._log)
        while (delay := loop.next_delay()) is not None:
            time.sleep(delay)
            try:
                limit = loop.seconds_for_poll()
                loop.on_result(self.poll(poller.request_id, polling_url, max_seconds=limit))
            except FluxError as error:
                loop.on_error(error)
        return loop.result

    def get_result(self, request_id: str, polling_url: str | None = None) -> GenerationResult:
        """Ask for the state of a generation now, and retry transient errors. BFL does not bill it.

        :param request_id: id of the generation.
        :param polling_url: see :meth:`poll`.
        :raises FluxUntrustedURLError: if the key must not be sent to the URL.
        """
        return self._read(self._poll_call(request_id, polling_url))

    def download(
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

        def attempt() -> bytes:
            return self._download_once(
                Download(sample, self.settings, request_id=request_id, max_bytes=max_bytes)
            )

        return Retrying(**self._read_retries())(attempt)

    def get_credits(self, *, retry: bool = True) -> float:
        """Return the balance of the account in credits (1 credit = 0.01 USD).

        :param retry: whether to retry transient errors, ``True`` by default.
        """
        call = self._credits_call()
        return self._read(call) if retry else self._send(call)

    def get_my_finetunes(self) -> list[Any]:
        """Return the finetunes of the account (``GET /v1/my_finetunes``), as BFL lists them."""
        return self._read(self._finetunes_call())

    def get_finetune_details(self, finetune_id: str) -> dict[str, Any]:
        """Return the training parameters of a finetune (``GET /v1/finetune_details``).

        :param finetune_id: id of the finetune.
        :raises FluxRequestError: if the account has no finetune with that id.
        """
        return self._read(self._finetune_call(finetune_id))

    def delete_finetune(self, finetune_id: str) -> dict[str, Any]:
        """Delete a finetune for good (``POST /v1/delete_finetune``) and return BFL's confirmation.

        :param finetune_id: id of the finetune.
        :raises FluxRequestError: if the account has no finetune with that id.
        :raises FluxServiceError: if the answer was lost. :meth:`get_my_finetunes` shows whether it
            was deleted.
        """
        return self._send(self._delete_finetune_call(finetune_id))

    def report_license_usage(self, model: str, number_of_generations: int) -> None:
        """Report images made with open weights under a licence.

        ``POST /v1/licenses/models/{model}/usage``. The report is sent once. If its answer was lost,
        it may have been counted.

        :param model: ``flux-1-dev``, ``flux-1-kontext-dev``, ``flux-1-krea-dev`` or ``flux-tools``.
        :param number_of_generations: images since the last report, 1 or more.
        :raises FluxRequestError: if the model or the number is refused.
        :raises FluxServiceError: if the answer was lost.
        """
        self._send(self._usage_call(model, number_of_generations))

    def _send(self, call: Call[T]) -> T:
        while True:
            answer = self._transport.send(call.request)
            redirected = call.redirected(answer)
            if redirected is None:
                return call.read(answer)
            call = redirected

    def _read(self, call: Call[T]) -> T:
        """Send a request that only reads, and retry transient errors."""
        result: T = Retrying(**self._read_retries())(self._send, call)
        return result

    def _read_balance(self) -> float | None:
        try:
            return self.get_credits()
        except FluxError:
            return None

    def _download_once(self, download: Download) -> bytes:
        while True:
            url = download.next_url()
            with download.typed_errors(), closing(self._transport.open(url)) as response:
                if download.is_redirected(response.status_code, response.headers):
                    continue
                for chunk in read_chunks(response, delivery.CHUNK_BYTES):
                    download.add(chunk)
                return download.content()
