"""The protocol, sans I/O: a request description out, a typed answer or a typed error in.

The requests hook and the aiohttp client both stand on these functions, so they cannot drift apart.
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

#: Longest Retry-After that is believed, in seconds.
_LONGEST_RETRY_AFTER = 300.0
_SHOWN_DETAIL = 300


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request to BFL; headers and body are kept out of the repr.

    :param is_billed: whether BFL bills it, so that it must not be made twice.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | JsonBody | None = field(default=None, repr=False)
    is_billed: bool = False

    @property
    def is_fully_sent(self) -> bool:
        """Whether the service can have read the whole request. Half a JSON document asks for nothing."""
        return not isinstance(self.body, JsonBody) or self.body.is_fully_read

    def reset(self) -> None:
        """Say that it is about to be sent, perhaps again."""
        if isinstance(self.body, JsonBody):
            self.body.reset()


@dataclass(frozen=True)
class HttpAnswer:
    """One HTTP answer; ``headers`` is case-insensitive, as both HTTP libraries give it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)  # not to be echoed from the body


def submit_request(request: GenerationRequest, settings: FluxSettings) -> HttpRequest:
    """Describe the POST that submits a generation. It is billed once it was answered with 200.

    :raises FluxRequestError: if the parameters are not JSON.
    """
    return replace(
        post_request(request.path, encode_body(request.parameters), settings), is_billed=True
    )


def poll_request(request_id: str, polling_url: str | None, settings: FluxSettings) -> HttpRequest:
    """Describe the GET that asks for a result: at the polling URL as it was returned.

    Without one (the service returns none for webhook requests) the host of the connection is asked.

    :raises FluxUntrustedURLError: if the key must not be sent to the polling URL.
    """
    url = polling_url or f"{settings.base_url}/v1/get_result?{urlencode({'id': request_id})}"
    return HttpRequest("GET", check_polling_url(url, settings), _headers(settings))


def get_request(path: str, settings: FluxSettings) -> HttpRequest:
    """Describe a GET at the host of the connection."""
    return HttpRequest("GET", f"{settings.base_url}{path}", _headers(settings))


def post_request(path: str, body: bytes | JsonBody, settings: FluxSettings) -> HttpRequest:
    """Describe a POST of a JSON document to the host of the connection."""
    headers = {**_headers(settings), "content-type": "application/json"}
    return HttpRequest("POST", f"{settings.base_url}{path}", headers, body)


def read_submission(answer: HttpAnswer, request: GenerationRequest, *, now: float) -> Submission:
    """Read the answer to a submit.

    :raises FluxSubmitUncertainError: if it does not say whether a task was made: any 5xx, or a
        success without an id.
    :raises FluxError: the typed refusal otherwise; then nothing was paid.
    """
    secrets = (*answer.secrets, str(request.parameters.get("webhook_secret") or ""))
    body = read_json(answer)
    if 200 <= answer.status < 300 and isinstance(body, Mapping) and body.get("id"):
        return Submission.from_body(body, now=now)
    if answer.status < 400 or answer.status >= 500:
        raise _uncertain_submit(
            f"the service answered with HTTP {answer.status}{_detail(body, secrets)}"
        )
    raise error_from_answer(
        answer, f"{request.model} was refused by BFL, and nothing was paid", *secrets
    )


def read_result(answer: HttpAnswer) -> GenerationResult:
    """Read the answer to a poll.

    A JSON body that carries a task is authoritative whatever the HTTP status: the service answers
    404 for *Task not found* and 422 for some *Error* tasks.

    :raises FluxError: if the answer carries no task.
    """
    body = read_json(answer)
    if isinstance(body, Mapping) and ("status" in body or "state" in body):
        return GenerationResult.from_body(body, secrets=answer.secrets)
    if (
        answer.status == 404
    ):  # a gateway's, say: to be believed after a grace, like the service's own
        return GenerationResult.from_body({"status": Status.TASK_NOT_FOUND.value})
    if 300 <= answer.status < 400:
        raise FluxUntrustedURLError(
            "BFL's polling URL answered with a redirect. It was not followed, because the API key would go along."
        )
    raise error_from_answer(answer, "The poll was refused by BFL")


def network_error(request: HttpRequest, reason: str, *, nothing_sent: bool) -> FluxError:
    """Return the error for a request that the network gave no answer to.

    :param nothing_sent: whether it is sure that no byte of the request left, so that it may be repeated.
    """
    where = describe_url(request.url)
    if nothing_sent:
        return FluxConnectionError(f"Could not connect to {where} ({reason}); nothing was sent.")
    if not request.is_fully_sent:
        return FluxConnectionError(
            f"The connection to {where} broke while the request was being sent ({reason})."
        )
    if request.is_billed:
        return _uncertain_submit(f"the connection broke before it was answered ({reason})")
    return FluxServiceError(f"No answer from {where} ({reason}).")


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` in seconds, written as seconds or as a date; at most five minutes."""
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
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if seconds == seconds else None


def _uncertain_submit(reason: str) -> FluxSubmitUncertainError:
    """Return the error for a submit that was sent and has no usable answer."""
    return FluxSubmitUncertainError(
        f"The submit was sent, but {reason}. The image may have been generated and billed, and BFL "
        "has no way to ask. It is not sent again by itself; clear the task to accept a possible second charge."
    )


def _headers(settings: FluxSettings) -> dict[str, str]:
    return {"x-key": settings.api_key, "accept": "application/json"}


def read_json(answer: HttpAnswer) -> Any:
    """Return the JSON of an answer, ``None`` if it is none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def error_from_answer(answer: HttpAnswer, what: str, *secrets: str) -> FluxError:
    """Return the typed error of an answer that is none of the expected ones.

    :param what: what was refused, and by whom.
    :param secrets: what must not be echoed, beside the secrets of the connection.
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
            f"BFL refused the API key (HTTP {answer.status}{detail}). Check the password of the flux connection."
        )
    if answer.status == 402:
        return FluxInsufficientCreditsError(
            f"{what}: the account has not enough credits (HTTP 402{detail})."
        )
    if answer.status == 429:
        return FluxRateLimitedError(
            f"{what}: too many active tasks on the account (HTTP 429{detail}).",
            retry_after=parse_retry_after(answer.headers),
        )
    if 400 <= answer.status < 500 and answer.status not in {408, 425}:
        return FluxRequestError(f"{what} (HTTP {answer.status}{detail}).")
    return FluxServiceError(
        f"BFL answered with HTTP {answer.status}{detail}.",
        retry_after=parse_retry_after(answer.headers),
    )


def _detail(body: Any, secrets: tuple[str, ...]) -> str:
    """Return the service's own words. It echoes the request in ``input``, which is left out."""
    detail = body.get("detail", body.get("message")) if isinstance(body, Mapping) else None
    if isinstance(detail, list):
        text = "; ".join(_sentence(item) for item in detail[:5])
    elif isinstance(detail, Mapping):
        text = _sentence(detail)
    else:
        text = str(detail or "")
    return f": {redact(text, *secrets)[:_SHOWN_DETAIL]}" if text else ""


def _sentence(item: Any) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    place = item.get("loc")
    where = (
        ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
    )
    said = next(
        (item[key] for key in ("msg", "message", "error") if isinstance(item.get(key), str)),
        "refused",
    )
    return f"{where}: {said}" if where else str(said)
