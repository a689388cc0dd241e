"""Typed errors for unexpected answers of the service, and for requests that got no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxConnectionError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRateLimitedError,
    FluxRequestError,
    FluxServiceError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.bfl.http_messages import (
    HttpAnswer,
    HttpRequest,
    parse_retry_after,
    read_json,
)
from airflow_provider_flux.bfl.quotes import remove_quotes
from airflow_provider_flux.bfl.redaction import describe_url, redact_line

_MAX_DETAIL_CHARACTERS = 300
_MAX_DETAILS = 5
#: Statuses by which BFL documents that it refused a request. On a submit, each of them proves that
#: it generated nothing. Any other status may come from a gateway that has passed the request on.
_REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 422, 429})


def is_refusal(answer: HttpAnswer) -> bool:
    """Whether an answer to a submit proves that BFL generated nothing.

    The status is 400, 401, 402, 403, 404, 405, 422 or 429 (source: the OpenAPI document of
    api.bfl.ai and published answers). A 404 has to be that of the route: with the id or status of
    a generation it proves nothing, and neither does any answer with a polling URL.

    :param answer: the answer of the service.
    """
    body = read_json(answer)
    names = ("polling_url", "id", "status") if answer.status == 404 else ("polling_url",)
    is_generation = isinstance(body, Mapping) and any(body.get(name) for name in names)
    return answer.status in _REFUSALS and not is_generation


def error_from_answer(
    answer: HttpAnswer, refusal: str, *secrets: str, quoted: tuple[str, ...] = ()
) -> FluxError:
    """Return the typed error of an unexpected answer.

    :param answer: the answer of the service.
    :param refusal: beginning of the message, for example ``BFL refused the poll``.
    :param secrets: texts that the message must not quote, besides the secrets of the connection.
    :param quoted: texts of the request. A text of BFL that quotes one is left out.
    """
    body = read_json(answer)
    detail = describe_detail(body, (*answer.secrets, *secrets), quoted)
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
            f"{refusal}: the account has too many active generations (HTTP 429{detail}).",
            retry_after=parse_retry_after(answer.headers),
        )
    if answer.status in _REFUSALS:
        return FluxRequestError(f"{refusal} (HTTP {answer.status}{detail}).")
    return FluxServiceError(
        f"BFL answered with HTTP {answer.status}{detail}.",
        retry_after=parse_retry_after(answer.headers),
    )


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
        return uncertain_submit_error(f"the connection broke before BFL answered ({reason})")
    return FluxServiceError(f"{url} did not answer ({reason}).")


def uncertain_submit_error(reason: str) -> FluxSubmitUncertainError:
    """Return the error for a submit that was sent and has no usable answer.

    :param reason: a clause that follows "The submit was sent, but".
    """
    return FluxSubmitUncertainError(
        f"The submit was sent, but {reason}. BFL may have generated and billed the image, and has "
        "no route to check that. The submit is not repeated automatically. To accept a possible "
        "second charge, clear the task."
    )


def describe_detail(body: Any, secrets: tuple[str, ...], quoted: tuple[str, ...] = ()) -> str:
    """Return the reason that the service gave, without ``input``, which quotes the request.

    :param body: the JSON value of the answer.
    :param secrets: texts that the reason must not contain.
    :param quoted: texts of the request. A part of the reason that quotes one is left out.
    :return: the reason after a colon, or an empty text.
    """
    detail = body.get("detail", body.get("message")) if isinstance(body, Mapping) else None
    if isinstance(detail, list):
        sentences = (remove_quotes(_sentence(item), quoted) for item in detail[:_MAX_DETAILS])
        text = remove_quotes("; ".join(sentences), quoted)
    elif isinstance(detail, Mapping):
        text = remove_quotes(_sentence(detail), quoted)
    else:
        text = remove_quotes(str(detail or ""), quoted)
    return f": {redact_line(text, *secrets)[:_MAX_DETAIL_CHARACTERS]}" if text else ""


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
