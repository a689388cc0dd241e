"""The connections and errors of urllib3. No other module uses its private names."""

from __future__ import annotations

import io
import ssl
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from airflow_provider_flux.client.answer_limits import MAX_ANSWER_SECONDS, AnswerTime

#: Errors before the first byte of a request. Not ProxyError: urllib3 also raises that for a proxy
#: that broke off after the request was sent.
_NOTHING_SENT = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)
#: urllib3 wraps an error at most this often.
_MAX_WRAPPERS = 6


class TimeoutMixin:
    """Connections of an adapter that keep their timeouts, and limit the time of whole answers.

    urllib3 sends on a new connection with the connect timeout. An upload that stalls for so long
    would break off. Its read timeout is that of each read.

    :ivar timeout_when_open: seconds that an open connection may be silent.
    """

    timeout_when_open: float

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool that requests would use, with connections of :func:`_with_timeout`.

        :param args: arguments of :class:`requests.adapters.HTTPAdapter`.
        :param kwargs: arguments of :class:`requests.adapters.HTTPAdapter`.
        """
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)  # type: ignore[misc]
        if not hasattr(pool.ConnectionCls, "timeout_when_open"):
            pool.ConnectionCls = _with_timeout(pool.ConnectionCls, self.timeout_when_open)
        return pool


class TimeoutAdapter(TimeoutMixin, HTTPAdapter):
    """An adapter without retries, with the connections of :class:`TimeoutMixin`.

    :param timeout_when_open: seconds that an open connection may be silent.
    :param options: further options of :class:`requests.adapters.HTTPAdapter`.
    """

    def __init__(self, timeout_when_open: float, **options: Any) -> None:
        self.timeout_when_open = timeout_when_open
        super().__init__(max_retries=0, **options)


def _with_timeout(connection: Any, timeout: float) -> Any:
    """Return a class of connections that limit the time of each request and of each answer."""

    def connect(self: Any) -> None:
        connection.connect(self)
        self.sock.settimeout(timeout)

    def putrequest(self: Any, *args: Any, **kwargs: Any) -> None:
        self.send_by = time.monotonic() + max(MAX_ANSWER_SECONDS, timeout)
        if self.sock is not None:
            self.sock.settimeout(timeout)  # the last answer has changed it
        connection.putrequest(self, *args, **kwargs)

    def send(self: Any, data: Any) -> None:
        if time.monotonic() > self.send_by:
            raise TimeoutError("The server reads the request too slowly.")
        connection.send(self, data)

    def response_class(sock: Any, *args: Any, **kwargs: Any) -> HTTPResponse:
        return _TimedResponse(sock, *args, **kwargs)

    members = {
        "connect": connect,
        "putrequest": putrequest,
        "send": send,
        "response_class": staticmethod(response_class),
        "send_by": float("inf"),  # of the CONNECT to a proxy
        "timeout_when_open": timeout,
    }
    return type("TimeoutConnection", (connection,), members)


class _TimedResponse(HTTPResponse):
    """An answer that has to arrive within the timeout that its socket has when it begins."""

    fp: io.BufferedReader

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(sock, self.fp.detach()))


class _TimedReader(io.RawIOBase):
    """The bytes of a socket, until the time of the answer is over."""

    def __init__(self, sock: Any, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._timeout: float | None = sock.gettimeout()
        self._time = AnswerTime(MAX_ANSWER_SECONDS if self._timeout is None else self._timeout)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._time.left()
        if left <= 0:
            raise TimeoutError("The answer arrives too slowly.")
        self._sock.settimeout(left if self._timeout is None else min(left, self._timeout))
        count: int | None = self._raw.readinto(buffer)
        self._time.add(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def is_nothing_sent(error: BaseException | None) -> bool:
    """Whether the connection could not be opened, so that no byte of the request was sent.

    :param error: the exception of requests; urllib3 hides the cause behind several wrappers.
    """
    for _ in range(_MAX_WRAPPERS):
        if error is None:
            return False
        if isinstance(error, _NOTHING_SENT) or str(error).startswith("Tunnel connection failed"):
            return True
        error = _wrapped_error(error)
    return False


def _wrapped_error(error: BaseException) -> BaseException | None:
    wrapped = getattr(error, "reason", None) or getattr(error, "original_error", None)
    if isinstance(wrapped, BaseException):
        return wrapped
    return next((arg for arg in error.args[:1] if isinstance(arg, BaseException)), None)
