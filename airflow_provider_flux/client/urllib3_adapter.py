"""The connections and errors of urllib3. No other module uses its private names."""

from __future__ import annotations

import ssl
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

#: Errors before the first byte of a request. Not ProxyError: urllib3 also raises that for a proxy
#: that broke off after the request was sent.
_NOTHING_SENT = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)
#: urllib3 wraps an error at most this often.
_MAX_WRAPPERS = 6


class TimeoutAdapter(HTTPAdapter):
    """An adapter without retries, whose connections change their timeout once they are open.

    urllib3 sends on a new connection with the connect timeout. An upload that stalls for so long
    would break off.

    :param timeout_when_open: seconds that an open connection may be silent.
    :param options: further options of :class:`requests.adapters.HTTPAdapter`.
    """

    def __init__(self, timeout_when_open: float, **options: Any) -> None:
        self._timeout_when_open = timeout_when_open
        super().__init__(max_retries=0, **options)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool that requests would use, with connections of :func:`_with_timeout`.

        :param args: arguments of :class:`requests.adapters.HTTPAdapter`.
        :param kwargs: arguments of :class:`requests.adapters.HTTPAdapter`.
        """
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not hasattr(pool.ConnectionCls, "timeout_when_open"):
            pool.ConnectionCls = _with_timeout(pool.ConnectionCls, self._timeout_when_open)
        return pool


def _with_timeout(connection: Any, timeout: float) -> Any:
    """Return a class of connections that set a timeout on their socket once it is open."""

    def connect(self: Any) -> None:
        connection.connect(self)
        self.sock.settimeout(timeout)

    return type(
        "TimeoutConnection", (connection,), {"connect": connect, "timeout_when_open": timeout}
    )


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
