"""The HTTP protocol of the service, without I/O.

Each call has a function that describes its HTTP request, and a function that reads the answer as a
typed value or raises a typed error. Both clients use these functions, so they cannot behave
differently. Sources: the OpenAPI document of api.bfl.ai, BFL's integration guidelines, and
published answers of the service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from airflow_provider_flux.bfl.body import JsonBody, encode_body
from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxConnectionError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRateLimitedError,
    FluxRequestError,
    FluxServiceError,
    FluxSubmitUncertainError,
    FluxUntrustedURLError,
)
from airflow_provider_flux.bfl.redaction import describe_url, redact
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.responses import GenerationResult, Status, Submission
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.url_trust import check_polling_url

_MAX_RETRY_AFTER_SECONDS = 300.0
_MAX_DETAIL_CHARACTERS = 300
_MAX_DETAILS = 5


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request to BFL.

    :param method: ``GET`` or ``POST``.
    :param url: the whole URL.
    :param headers: with the API key, so they are not part of the repr.
    :param body: the JSON document. ``None`` for a GET. It is not part of the repr.
    :param is_billed: whether BFL bills it, so that it must not be sent twice.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | JsonBody | None = field(default=None, repr=False)
    is_billed: bool = False

    @property
    def is_fully_sent(self) -> bool:
        """Whether the service can have read the whole request. It ignores half a document."""
        return not isinstance(self.body, JsonBody) or self.body.is_fully_read

    def reset(self) -> None:
        """Prepare to send the request, for the first time or again."""
        if isinstance(self.body, JsonBody):
            self.body.reset()


@dataclass(frozen=True)
class HttpAnswer:
    """One HTTP answer of BFL.

    :param status: HTTP status code.
    :param headers: a case-insensitive mapping, which both HTTP libraries provide.
    :param body: the raw body. It is not part of the repr.
    :param secrets: texts that an error message must not quote from the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def submit_request(request: GenerationRequest, settings: FluxSettings) -> HttpRequest:
    """Describe the POST that submits a generation. BFL bills it when it answers with 200.

    :param request: a checked request whose inputs have been read.
    :param settings: the account.
    :raises FluxRequestError: if the parameters cannot be represented in JSON.
    """
    return replace(
        post_request(request.path, encode_body(request.parameters), settings), is_billed=True
    )


def poll_request(request_id: str, polling_url: str | None, settings: FluxSettings) -> HttpRequest:
    """Describe the GET that polls a generation.

    A generation lives in one cluster, so its polling URL is used unchanged (source: BFL's
    integration guidelines).

    :param request_id: id that BFL gave the generation.
    :param polling_url: the polling URL of the submit's answer. ``None`` polls the host of the
        connection; the service returns no polling URL for requests with a webhook.
    :param settings: the account.
    :raises FluxUntrustedURLError: if the key must not be sent to the polling URL.
    """
    url = polling_url or f"{settings.base_url}/v1/get_result?{urlencode({'id': request_id})}"
    return HttpRequest("GET", check_polling_url(url, settings), _headers(settings))


def get_request(path: str, settings: FluxSettings) -> HttpRequest:
    """Describe a GET at the host of the connection.

    :param path: path and query, for example ``/v1/credits``.
    :param settings: the account.
    """
    return HttpRequest("GET", f"{settings.base_url}{path}", _headers(settings))


def post_request(path: str, body: bytes | JsonBody, settings: FluxSettings) -> HttpRequest:
    """Describe a POST of a JSON document to the host of the connection.

    :param path: path and query, for example ``/v1/flux-2-pro``.
    :param body: the JSON document.
    :param settings: the account.
    """
    headers = {**_headers(settings), "content-type": "application/json"}
    return HttpRequest("POST", f"{settings.base_url}{path}", headers, body)


def read_submission(answer: HttpAnswer, request: GenerationRequest, *, now: float) -> Submission:
    """Read the answer to a submit.

    :param answer: the answer of the service.
    :param request: the request that was submitted.
    :param now: when the answer arrived, in epoch seconds.
    :raises FluxSubmitUncertainError: if the answer does not say whether a generation exists: any
        5xx, or a success without an id.
    :raises FluxError: a typed error for any other answer. Nothing was billed.
    """
    secrets = (*answer.secrets, str(request.parameters.get("webhook_secret") or ""))
    body = read_json(answer)
    if 200 <= answer.status < 300 and isinstance(body, Mapping) and body.get("id"):
        return Submission.from_body(body, now=now)
    if answer.status < 400 or answer.status >= 500:
        raise _uncertain_submit(f"BFL answered with HTTP {answer.status}{_detail(body, secrets)}")
    raise error_from_answer(
        answer, f"BFL refused {request.model}, and nothing was billed", *secrets
    )


def read_result(answer: HttpAnswer) -> GenerationResult:
    """Read the answer to a poll.

    A JSON body with a status counts whatever the HTTP status is: the service answers 404 with *Task
    not found*, and 422 with some generations that ended with *Error* (source: published answers).

    :param answer: the answer of the service.
    :raises FluxError: if the body has no status.
    """
    body = read_json(answer)
    if isinstance(body, Mapping) and ("status" in body or "state" in body):
        return GenerationResult.from_body(body, secrets=answer.secrets)
    if answer.status == 404:  # for example of a gateway; the poller waits before it believes a 404
        return GenerationResult.from_body({"status": Status.TASK_NOT_FOUND.value})
    if 300 <= answer.status < 400:
        raise FluxUntrustedURLError(
            "The polling URL answered with a redirect. It was not followed, because that would "
            "send the API key to another host."
        )
    raise error_from_answer(answer, "BFL refused the poll")


def network_error(request: HttpRequest, reason: str, *, nothing_sent: bool) -> FluxError:
    """Return the error for a request that got no answer.

    :param request: the request that was sent.
    :param reason: name of the network failure, without addresses and secrets.
    :param nothing_sent: whether no byte of the request can have been sent, so that it may be
        repeated.
    """
    url = describe_url(request.url)
    if nothing_sent:
        return FluxConnectionError(f"Could not connect to {url} ({reason}). Nothing was sent.")
    if not request.is_fully_sent:
        return FluxConnectionError(
            f"The connection to {url} broke before the whole request was sent ({reason})."
        )
    if request.is_billed:
        return _uncertain_submit(f"the connection broke before BFL answered ({reason})")
    return FluxServiceError(f"{url} did not answer ({reason}).")


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the header ``Retry-After``, written as seconds or as a date.

    :param headers: a case-insensitive mapping.
    :return: seconds to wait, at most 300. ``None`` if the header is missing or unreadable.
    """
    text = headers.get("Retry-After")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(tz=UTC)).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS) if seconds == seconds else None


def _uncertain_submit(reason: str) -> FluxSubmitUncertainError:
    """Return the error for a submit that was sent and has no usable answer."""
    return FluxSubmitUncertainError(
        f"The submit was sent, but {reason}. BFL may have generated and billed the image, and has "
        "no route that tells. The submit is not repeated automatically. To accept a possible "
        "second charge, clear the task."
    )


def _headers(settings: FluxSettings) -> dict[str, str]:
    return {"x-key": settings.api_key, "accept": "application/json"}


def read_json(answer: HttpAnswer) -> Any:
    """Return the JSON value of an answer.

    :param answer: the answer of the service.
    :return: the value, or ``None`` if the body is not JSON.
    """
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def error_from_answer(answer: HttpAnswer, refusal: str, *secrets: str) -> FluxError:
    """Return the typed error of an unexpected answer.

    :param answer: the answer of the service.
    :param refusal: beginning of the message, for example ``BFL refused the poll``.
    :param secrets: texts that the message must not quote, besides the secrets of the connection.
    """
    body = read_json(answer)
    detail = _detail(body, (*answer.secrets, *secrets))
    is_key_format = (
        answer.status == 422
        and isinstance(body, Mapping)
        and "api key" in str(body.get("detail")).lower()
    )
    if answer.status in {401, 403} or (is_key_format and isinstance(body["detail"], str)):
        return FluxAuthenticationError(
            f"BFL refused the API key (HTTP {answer.status}{detail}). Correct the password of the "
            "flux connection."
        )
    if answer.status == 402:
        return FluxInsufficientCreditsError(
            f"{refusal}: the balance of the account is too low (HTTP 402{detail})."
        )
    if answer.status == 429:
        return FluxRateLimitedError(
            f"{refusal}: the account has too many active requests (HTTP 429{detail}).",
            retry_after=parse_retry_after(answer.headers),
        )
    if 400 <= answer.status < 500 and answer.status not in {408, 425}:
        return FluxRequestError(f"{refusal} (HTTP {answer.status}{detail}).")
    return FluxServiceError(
        f"BFL answered with HTTP {answer.status}{detail}.",
        retry_after=parse_retry_after(answer.headers),
    )


def _detail(body: Any, secrets: tuple[str, ...]) -> str:
    """Return the reason that the service gave, without ``input``, which quotes the request."""
    detail = body.get("detail", body.get("message")) if isinstance(body, Mapping) else None
    if isinstance(detail, list):
        text = "; ".join(_sentence(item) for item in detail[:_MAX_DETAILS])
    elif isinstance(detail, Mapping):
        text = _sentence(detail)
    else:
        text = str(detail or "")
    return f": {redact(text, *secrets)[:_MAX_DETAIL_CHARACTERS]}" if text else ""


def _sentence(item: Any) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    location = item.get("loc")
    field_name = (
        ".".join(str(part) for part in location if part != "body")
        if isinstance(location, list)
        else ""
    )
    message = next(
        (item[key] for key in ("msg", "message", "error") if isinstance(item.get(key), str)),
        "refused",
    )
    return f"{field_name}: {message}" if field_name else str(message)
