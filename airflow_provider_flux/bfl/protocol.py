"""Submits and polls, without I/O.

Each has a function that describes its HTTP request, and a function that reads the answer as a typed
value or raises a typed error. Both clients use these functions, so they cannot behave
differently. Sources: the OpenAPI document of api.bfl.ai, BFL's integration guidelines, and
published answers of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urljoin

from airflow_provider_flux.bfl.body import encode_body
from airflow_provider_flux.bfl.errors import FluxRateLimitedError, FluxServiceError
from airflow_provider_flux.bfl.http_errors import (
    describe_detail,
    error_from_answer,
    is_refusal,
    uncertain_submit_error,
)
from airflow_provider_flux.bfl.http_messages import (
    HttpAnswer,
    HttpRequest,
    parse_retry_after,
    post_request,
    read_json,
    request_headers,
)
from airflow_provider_flux.bfl.quotes import texts_of
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.responses import GenerationResult, Submission, read_id, read_status
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.bfl.url_trust import check_polling_url

#: A poll may be redirected this often, each time to a trusted host.
MAX_POLL_REDIRECTS = 3
#: HTTP statuses of a redirect.
REDIRECTS = frozenset({301, 302, 303, 307, 308})


def submit_request(request: GenerationRequest, settings: FluxSettings) -> HttpRequest:
    """Describe the POST that submits a generation. BFL bills it when it answers with 200.

    :param request: a checked request whose inputs have been read.
    :param settings: the account.
    :raises FluxRequestError: if the parameters cannot be represented in JSON.
    """
    return replace(
        post_request(request.path, encode_body(request.parameters), settings), is_billed=True
    )


def poll_request(
    request_id: str,
    polling_url: str | None,
    settings: FluxSettings,
    timeout: float | None = None,
) -> HttpRequest:
    """Describe the GET that polls a generation.

    A generation lives in one cluster, so its polling URL is used unchanged (source: BFL's
    integration guidelines).

    :param request_id: id that BFL gave the generation.
    :param polling_url: the polling URL of the submit's answer. ``None`` polls the host of the
        connection; the service returns no polling URL for requests with a webhook.
    :param settings: the account.
    :param timeout: seconds that the answer may take; ``None``, the default, for those of the
        account.
    :raises FluxUntrustedURLError: if the key must not be sent to the polling URL.
    """
    url = polling_url or f"{settings.base_url}/v1/get_result?{urlencode({'id': request_id})}"
    if url.startswith("/") and not url.startswith(("//", "/\\")):  # of a gateway without a host
        url = f"{settings.base_url}{url}"
    url = check_polling_url(url, settings)
    return HttpRequest("GET", url, request_headers(settings), timeout=timeout)


def redirected_poll(
    request: HttpRequest, answer: HttpAnswer, settings: FluxSettings
) -> HttpRequest | None:
    """Describe the GET that follows the redirect of a poll.

    BFL's polling hosts may redirect to regional ones (source: BFL's integration guidelines). The
    new URL is checked as a polling URL, so the key only goes to trusted hosts.

    :param request: the poll that was sent.
    :param answer: its answer.
    :param settings: the account.
    :return: the request, or ``None`` if the answer is not a redirect.
    :raises FluxUntrustedURLError: if the key must not be sent to the new URL.
    """
    location = answer.headers.get("Location")
    if answer.status not in REDIRECTS or not location:
        return None
    try:
        url = urljoin(request.url, location)
    except ValueError:
        url = location
    return replace(request, url=check_polling_url(url, settings, kind="redirect of the polling"))


def read_submission(answer: HttpAnswer, request: GenerationRequest, *, now: float) -> Submission:
    """Read the answer to a submit.

    :param answer: the answer of the service.
    :param request: the request that was submitted.
    :param now: when the answer arrived, in epoch seconds.
    :raises FluxSubmitUncertainError: if the answer does not say whether a generation exists: a
        success without an id, or any status that :func:`is_refusal` does not accept, for example
        408, 409, 499 or 503.
    :raises FluxError: a typed error for a refusal. Nothing was billed.
    """
    quoted = texts_of(request.parameters)
    secrets = (*answer.secrets, str(request.parameters.get("webhook_secret") or ""))
    body = read_json(answer)
    if 200 <= answer.status < 300 and isinstance(body, Mapping) and read_id(body):
        return Submission.from_body(body, now=now)
    if not is_refusal(answer):
        raise uncertain_submit_error(
            f"BFL answered with HTTP {answer.status}{describe_detail(body, secrets, quoted)}"
        )
    raise error_from_answer(
        answer, f"BFL refused {request.model}, and nothing was billed", *secrets, quoted=quoted
    )


def read_result(answer: HttpAnswer) -> GenerationResult:
    """Read the answer to a poll.

    A JSON body with a status counts whatever the HTTP status is: the service answers 404 with *Task
    not found*, and 422 or 503 with some generations that ended with *Error* (source: published
    answers). The error page of a gateway does not count, even if it is JSON.

    :param answer: the answer of the service.
    :raises FluxError: if the body has no status of a generation. For a redirect that the client has
        not followed, and for a page, it is a :class:`FluxServiceError`: a later poll may be
        answered.
    """
    body = read_json(answer)
    if isinstance(body, Mapping) and _is_about_generation(answer.status, body):
        return GenerationResult.from_body(body, secrets=answer.secrets)
    if answer.status == 404:  # for example of a gateway; the poller waits before it believes a 404
        return GenerationResult.from_body({"status": Status.TASK_NOT_FOUND.value})
    if 300 <= answer.status < 400:
        raise FluxServiceError(
            f"The polling URL answered with HTTP {answer.status}, and was redirected more than "
            f"{MAX_POLL_REDIRECTS} times or without a location."
        )
    if answer.status == 429:  # the limit of active generations concerns submits only
        raise FluxRateLimitedError(
            "BFL refused the poll, because there were too many (HTTP 429). The generation goes on.",
            retry_after=parse_retry_after(answer.headers),
        )
    if 400 <= answer.status < 500 and not isinstance(body, Mapping):
        raise FluxServiceError(
            f"The polling URL answered with HTTP {answer.status} and no JSON, as a gateway does.",
            retry_after=parse_retry_after(answer.headers),
        )
    raise error_from_answer(answer, "BFL refused the poll")


def _is_about_generation(http_status: int, body: Mapping[str, Any]) -> bool:
    """Whether the status in the answer to a poll is that of a generation.

    Gateways answer with bodies such as ``{"status": "Error", "message": "upstream"}`` too, which
    must not end a generation that is billed.
    """
    text = read_status(body)
    if not isinstance(text, str):
        return False
    if http_status < 300 or any(body.get(name) for name in ("id", "result", "details")):
        return True
    status = Status.of(text)
    return status is not Status.UNKNOWN and (http_status in {404, 422} or not status.is_failure)
