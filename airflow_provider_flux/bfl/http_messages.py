"""HTTP requests and answers of the service as values, without I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_flux.bfl.body import JsonBody
from airflow_provider_flux.bfl.content_encoding import ACCEPT_ENCODING
from airflow_provider_flux.bfl.settings import FluxSettings

_MAX_RETRY_AFTER_SECONDS = 300.0


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request to BFL.

    :param method: ``GET`` or ``POST``.
    :param url: the whole URL.
    :param headers: with the API key, so they are not part of the repr.
    :param body: the JSON document. ``None`` for a GET. It is not part of the repr.
    :param is_billed: whether BFL bills it, so that it must not be sent twice.
    :param timeout: seconds that the answer may take, if they are fewer than those of the account.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | JsonBody | None = field(default=None, repr=False)
    is_billed: bool = False
    timeout: float | None = None

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


def get_request(path: str, settings: FluxSettings) -> HttpRequest:
    """Describe a GET at the host of the connection.

    :param path: path and query, for example ``/v1/credits``.
    :param settings: the account.
    """
    return HttpRequest("GET", f"{settings.base_url}{path}", request_headers(settings))


def post_request(path: str, body: bytes | JsonBody, settings: FluxSettings) -> HttpRequest:
    """Describe a POST of a JSON document to the host of the connection.

    :param path: path and query, for example ``/v1/flux-2-pro``.
    :param body: the JSON document.
    :param settings: the account.
    """
    headers = {**request_headers(settings), "content-type": "application/json"}
    return HttpRequest("POST", f"{settings.base_url}{path}", headers, body)


def request_headers(settings: FluxSettings) -> dict[str, str]:
    """Return the headers of every request, with the API key.

    :param settings: the account.
    """
    return {
        "x-key": settings.api_key,
        "accept": "application/json",
        "accept-encoding": ACCEPT_ENCODING,
    }


def read_json(answer: HttpAnswer) -> Any:
    """Return the JSON value of an answer.

    :param answer: the answer of the service.
    :return: the value, or ``None`` if the body is not JSON.
    """
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


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
