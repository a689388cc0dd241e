"""Synchronous HTTP over requests: bytes in, bytes out, failures as typed errors.

Exceptions of the HTTP library are never chained: their text and tracebacks hold full URLs, and the
query of a delivery URL is a credential.
"""

from __future__ import annotations

import logging
import re
import ssl
from contextlib import closing
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from airflow_provider_flux.bfl import delivery, protocol
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.protocol import HttpAnswer, HttpRequest
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.url_trust import check_delivery_url

# Not ProxyError: urllib3 raises it also for a proxy that broke off after the request was sent.
_NOTHING_SENT = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)


class _HideSignatures(logging.Filter):
    """Keep signed queries out of the debug log of urllib3, which writes the path of each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text and "/v1/get_result?" not in text:
            record.msg, record.args = re.sub(r"\?[^\s'\"]+", "?<query removed>", text), ()
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_HideSignatures())


class RequestsTransport:
    """A pooled session for one account. Redirects are never followed by themselves."""

    def __init__(self, settings: FluxSettings) -> None:
        self._settings = settings
        self._session = requests.Session()
        self._session.auth = _no_netrc
        # Given with each request, since requests lets the environment win over proxies of the session.
        self._proxies = (
            {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
        )
        pool = _Adapter(
            settings.read_timeout, pool_connections=4, pool_maxsize=max(10, settings.max_active)
        )
        self._session.mount("https://", pool)
        self._session.mount("http://", pool)
        self._timeout = (settings.connect_timeout, settings.read_timeout)

    def send(self, request: HttpRequest) -> HttpAnswer:
        """Send one request to the API.

        :raises FluxConnectionError: if nothing was sent.
        :raises FluxSubmitUncertainError: if a POST was sent and has no answer.
        :raises FluxServiceError: if a GET has no answer.
        """
        request.reset()
        try:
            response = self._session.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                data=request.body,
                timeout=self._timeout,
                proxies=self._proxies,
                allow_redirects=False,
            )
        except FluxError:
            raise  # of the body, while it was read
        except (
            Exception
        ) as error:  # not only of requests: a malformed Location, say, raises a bare ValueError
            raise protocol.network_error(
                request, type(error).__name__, nothing_sent=_nothing_was_sent(error)
            ) from None
        return HttpAnswer(
            response.status_code, response.headers, response.content, self._settings.secrets
        )

    def download(self, url: str, *, request_id: str | None, max_bytes: int) -> bytes:
        """Read a result from the delivery host, without the key; redirects only to trusted hosts.

        :raises FluxResultExpiredError: if the signed URL is refused.
        :raises FluxUntrustedURLError: if it leads to a host that is not BFL's.
        :raises FluxServiceError: if it breaks off, or the host is in trouble.
        :raises FluxImageError: if it is longer than ``max_bytes``.
        """
        for _ in range(delivery.MAX_REDIRECTS + 1):
            check_delivery_url(url, self._settings)
            try:
                with closing(self._get_stream(url)) as response:
                    location = response.headers.get("Location")
                    if response.is_redirect and location:
                        url = urljoin(url, location)
                        continue
                    error = delivery.download_error(
                        response.status_code, response.headers, request_id=request_id
                    )
                    if error:
                        raise error
                    body = delivery.BodyBuffer(max_bytes)
                    for chunk in response.iter_content(delivery.CHUNK_BYTES):
                        body.add(chunk)
                    return body.get()
            except FluxError:
                raise
            except Exception as error:
                raise delivery.broken_download_error(url, type(error).__name__) from None
        raise delivery.redirect_error(url)

    def _get_stream(self, url: str) -> requests.Response:
        return self._session.get(
            url,
            headers=dict(delivery.HEADERS),
            timeout=self._timeout,
            proxies=self._proxies,
            allow_redirects=False,
            stream=True,
        )


class _Adapter(HTTPAdapter):
    """An adapter without retries, whose connections have another timeout once they are open.

    urllib3 sends on a new connection with the connect timeout: an upload that stalls for so long would break off.
    """

    def __init__(self, timeout: float, **options: Any) -> None:
        self._timeout_when_open = timeout
        super().__init__(max_retries=0, **options)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not hasattr(pool.ConnectionCls, "timeout_when_open"):
            pool.ConnectionCls = _patient(pool.ConnectionCls, self._timeout_when_open)
        return pool


def _patient(connection: Any, timeout: float) -> Any:
    """Return a class of connections that change their timeout once they are open."""

    def connect(self: Any) -> None:
        connection.connect(self)
        self.sock.settimeout(timeout)

    return type(
        "PatientConnection", (connection,), {"connect": connect, "timeout_when_open": timeout}
    )


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from adding credentials of a ``.netrc`` file."""
    return request


def _nothing_was_sent(error: BaseException | None) -> bool:
    """Whether the connection itself could not be opened; urllib3 hides that behind several wrappers."""
    for _ in range(6):
        if error is None:
            return False
        if isinstance(error, _NOTHING_SENT) or str(error).startswith("Tunnel connection failed"):
            return True
        wrapped = getattr(error, "reason", None) or getattr(error, "original_error", None)
        first_arg = (
            error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        )
        error = wrapped if isinstance(wrapped, BaseException) else first_arg
    return False
