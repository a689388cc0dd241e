"""Synchronous HTTP over requests, which fails with typed errors.

Exceptions of the HTTP library are never chained. Their text and tracebacks hold full URLs, and the
query of a delivery URL is a credential.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

import requests

from airflow_provider_flux.bfl import delivery, http_errors
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.http_messages import HttpAnswer, HttpRequest
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client.answer_limits import CHUNK_BYTES, AnswerBody
from airflow_provider_flux.client.debug_log import hide_signatures
from airflow_provider_flux.client.urllib3_adapter import TimeoutAdapter, is_nothing_sent

hide_signatures()

#: Hosts whose connections are pooled: the API, clusters of BFL, and delivery hosts.
_POOLED_HOSTS = 4
#: Smallest number of connections that one pool keeps open.
_MIN_POOLED_CONNECTIONS = 10


class RequestsTransport:
    """A pooled session for one account. It never follows a redirect.

    :param settings: hosts, proxy and timeouts of the account.
    """

    def __init__(self, settings: FluxSettings) -> None:
        self._secrets = settings.secrets
        self._session = requests.Session()
        self._session.auth = _no_netrc
        # Passed with each request: requests lets the environment override the proxies of a session.
        self._proxies = (
            {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
        )
        adapter = TimeoutAdapter(
            settings.read_timeout,
            pool_connections=_POOLED_HOSTS,
            pool_maxsize=max(_MIN_POOLED_CONNECTIONS, settings.max_active),
        )
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._connect_timeout = settings.connect_timeout
        self._read_timeout = settings.read_timeout

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def send(self, request: HttpRequest) -> HttpAnswer:
        """Send one request to the API and return the answer.

        :param request: the description of the request.
        :raises FluxConnectionError: if the request was not sent whole.
        :raises FluxSubmitUncertainError: if a POST that BFL bills was sent and has no answer.
        :raises FluxServiceError: if any other request has no answer.
        """
        request.reset()
        try:
            with closing(
                self._request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    body=request.body,
                    timeout=request.timeout,
                )
            ) as response:
                body = AnswerBody(response.headers.get("Content-Encoding"))
                for chunk in read_chunks(response, CHUNK_BYTES):
                    if not body.add(chunk):
                        break
                return HttpAnswer(response.status_code, response.headers, body.get(), self._secrets)
        except FluxError:
            raise  # of the body, while it was read
        except Exception as error:  # also a bare ValueError, for example of a malformed Location
            raise http_errors.network_error(
                request, type(error).__name__, nothing_sent=is_nothing_sent(error)
            ) from None

    def open(self, url: str) -> requests.Response:
        """Request a result from a delivery host, without the key.

        :param url: a signed URL on a trusted host.
        :return: the response, whose body is not read yet.
        :raises Exception: of requests, whose text may hold the signature.
        """
        return self._request("GET", url, headers=delivery.HEADERS)

    def _request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: object = None,
        timeout: float | None = None,
    ) -> requests.Response:
        """Send a request, and return its response, whose body is not read yet."""
        longest = float("inf") if timeout is None else timeout
        return self._session.request(
            method,
            url,
            headers=dict(headers),
            data=body,  # type: ignore[arg-type]
            timeout=(min(self._connect_timeout, longest), min(self._read_timeout, longest)),
            proxies=self._proxies,
            allow_redirects=False,
            stream=True,
        )


def read_chunks(response: requests.Response, size: int) -> Iterator[bytes]:
    """Yield the body of a response as it arrives. Nothing is decoded, so nothing can expand.

    :param response: the response, requested with ``stream=True``.
    :param size: bytes of a chunk.
    :raises Exception: of urllib3, whose text may hold the URL.
    """
    while chunk := response.raw.read(size, decode_content=False):
        yield chunk


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from adding credentials of a ``.netrc`` file."""
    return request
