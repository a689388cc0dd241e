"""Decisions that the synchronous and the asynchronous client share. Nothing here sends or waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urljoin

from airflow_provider_flux.bfl import account, delivery, http_errors, protocol, retries
from airflow_provider_flux.bfl.content_encoding import UndecodableBodyError, decode_body
from airflow_provider_flux.bfl.errors import FluxError, FluxImageError, FluxRequestError
from airflow_provider_flux.bfl.http_messages import HttpAnswer, HttpRequest
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.responses import GenerationResult, Submission
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.url_trust import check_delivery_url

T = TypeVar("T")


class SubmitObserver(Protocol):
    """An object that is called around each POST of a submit, for example to record it."""

    def before_post(self) -> None:
        """Prepare for a POST. If this raises, nothing is sent."""

    def after_refusal(self, error: BaseException) -> None:
        """Record that a POST was not billed.

        :param error: the reason: a refusal of BFL, or what kept the request from being sent whole.
        """


class NullObserver:
    """An observer that does nothing."""

    def before_post(self) -> None:
        """Do nothing."""

    def after_refusal(self, error: BaseException) -> None:
        """Do nothing.

        :param error: the reason of the refusal.
        """


#: Describes the request that follows a redirect; ``None`` if the answer is not a redirect.
Follow = Callable[[HttpRequest, HttpAnswer], HttpRequest | None]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request, and the function that reads its answer.

    :param request: the description of the request.
    :param read: returns the typed answer, or raises the typed error.
    :param follow: describes the request that follows a redirect. By default none is followed.
    :param redirects: redirects that have been followed so far.
    """

    request: HttpRequest
    read: Callable[[HttpAnswer], T]
    follow: Follow | None = None
    redirects: int = 0

    def redirected(self, answer: HttpAnswer) -> Call[T] | None:
        """Return the call that follows a redirect; ``None`` if the answer is to be read.

        :param answer: the answer to the request.
        :raises FluxUntrustedURLError: if the redirect leads to a host that is not trusted.
        """
        if self.follow is None or self.redirects >= protocol.MAX_POLL_REDIRECTS:
            return None
        request = self.follow(self.request, answer)
        if request is None:
            return None
        return replace(self, request=request, redirects=self.redirects + 1)


class BaseFluxClient:
    """The calls of the BFL API for one account, as descriptions and decisions.

    :param settings: key, hosts and timeouts of the account.
    :param log: logger for retries and progress; ``None`` logs nothing.
    """

    def __init__(self, settings: FluxSettings, *, log: Any = None) -> None:
        self.settings = settings
        self._log = log

    def _submit_call(self, request: GenerationRequest) -> Call[Submission]:
        """Return the POST that BFL bills.

        :raises FluxRequestError: if the inputs of the request are not read yet.
        """
        if not request.is_prepared and any(
            request.parameters.get(name) for name in request.media_fields
        ):
            raise FluxRequestError(
                f"The inputs of {request.model} are not read yet. "
                "Submit inside `with hook.prepare_inputs(request) as request:`."
            )
        return Call(
            protocol.submit_request(request, self.settings),
            lambda answer: protocol.read_submission(answer, request, now=time.time()),
        )

    def _poll_call(
        self, request_id: str, polling_url: str | None, timeout: float | None = None
    ) -> Call[GenerationResult]:
        return Call(
            protocol.poll_request(request_id, polling_url, self.settings, timeout),
            protocol.read_result,
            lambda request, answer: protocol.redirected_poll(request, answer, self.settings),
        )

    def _credits_call(self) -> Call[float]:
        return Call(account.credits_request(self.settings), account.read_credits)

    def _finetunes_call(self) -> Call[list[Any]]:
        return Call(account.finetunes_request(self.settings), account.read_finetunes)

    def _finetune_call(self, finetune_id: str) -> Call[dict[str, Any]]:
        return Call(account.finetune_request(finetune_id, self.settings), account.read_finetune)

    def _delete_finetune_call(self, finetune_id: str) -> Call[dict[str, Any]]:
        described = account.delete_finetune_request(finetune_id, self.settings)
        return Call(described, account.read_deletion)

    def _usage_call(self, model: str, number_of_generations: int) -> Call[None]:
        described = account.usage_request(model, number_of_generations, self.settings)
        return Call(described, account.check_usage)

    def _submit_retries(self, max_wait: float, priority: Priority) -> dict[str, Any]:
        """Return the arguments of tenacity for a submit: again only if nothing was billed."""
        return {**retries.submit_retries(max_wait, priority), "before_sleep": self._log_retry}

    def _read_retries(self) -> dict[str, Any]:
        """Return the arguments of tenacity for calls that only read."""
        return {**retries.read_retries(), "before_sleep": self._log_retry}

    def _log_retry(self, state: Any) -> None:
        if self._log is not None:
            self._log.warning(
                "%s Trying again in %.1f s.", state.outcome.exception(), state.next_action.sleep
            )

    def _log_warnings(self, request: GenerationRequest) -> None:
        """Log the parts of a request that BFL may change or refuse."""
        for warning in request.warnings if self._log is not None else ():
            self._log.warning("%s: %s", request.model, warning)


def lost_submit(
    described: HttpRequest, error: BaseException, *, is_interruption: bool = False
) -> BaseException:
    """Return the error to raise for a submit that ended without an answer.

    :param described: the POST.
    :param error: the exception that ended it.
    :param is_interruption: whether the exception came from outside, for example from a timeout of
        the task. If BFL cannot have read the whole request, the interruption itself is raised.
    """
    if is_interruption and not described.is_fully_sent:
        return error
    return http_errors.network_error(described, type(error).__name__, nothing_sent=False)


class Download:
    """One attempt to read a result: its current URL, its bytes so far, and its decisions.

    The URL holds a signature. It is never part of an error.

    :param url: signed URL of the result.
    :param settings: settings of the account, which name the trusted hosts.
    :param request_id: id of the generation, for errors.
    :param max_bytes: size from which on a result is not read further.
    """

    def __init__(
        self, url: str, settings: FluxSettings, *, request_id: str | None, max_bytes: int
    ) -> None:
        self._url = url
        self._settings = settings
        self._request_id = request_id
        self._redirects = 0
        self._max_bytes = max_bytes
        self._encoding: str | None = None
        self._body = delivery.BodyBuffer(max_bytes)

    def next_url(self) -> str:
        """Return the URL to read now.

        :raises FluxUntrustedURLError: if it leads to a host that is not BFL's.
        """
        return check_delivery_url(self._url, self._settings)

    def is_redirected(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether the response leads to another URL, which :meth:`next_url` then returns.

        :param status: HTTP status of the response.
        :param headers: headers of the response.
        :raises FluxError: if the response brings neither a redirect nor a result.
        """
        location = headers.get("Location")
        if status in protocol.REDIRECTS and location:
            self._url = urljoin(self._url, location)
            self._redirects += 1
            if self._redirects > delivery.MAX_REDIRECTS:
                raise delivery.redirect_error(self._url)
            return True
        error = delivery.download_error(status, headers, request_id=self._request_id, url=self._url)
        if error:
            raise error
        self._encoding = headers.get("Content-Encoding")
        return False

    def add(self, chunk: bytes) -> None:
        """Append bytes of the result.

        :param chunk: the next bytes.
        :raises FluxImageError: if the result grows over ``max_bytes``.
        """
        self._body.add(chunk)

    def content(self) -> bytes:
        """Return all bytes of the result.

        :raises FluxImageError: if they arrived in an encoding that cannot be decoded, or expand too
            much.
        """
        limit = min(self._max_bytes, delivery.MAX_DECODED_BYTES)
        try:
            return decode_body(self._body.get(), self._encoding, max_bytes=limit)
        except UndecodableBodyError as error:
            raise FluxImageError(f"The result {error}.", request_id=self._request_id) from None

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Turn an exception of an HTTP library into a typed error, whose text holds no signature.

        :raises FluxServiceError: if the download broke off.
        """
        try:
            yield
        except FluxError:
            raise
        except Exception as error:
            raise delivery.broken_download_error(self._url, type(error).__name__) from None
