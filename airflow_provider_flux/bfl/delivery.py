"""The download of a result, without I/O: limits, and the errors of the delivery host.

A result is a signed URL. It lives for 10 minutes, or longer for videos (source: BFL's
documentation).
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxImageError,
    FluxResultExpiredError,
    FluxServiceError,
    FluxUntrustedURLError,
)
from airflow_provider_flux.bfl.http_messages import parse_retry_after
from airflow_provider_flux.bfl.redaction import describe_url

#: A delivery URL may be redirected this often, each time to a trusted host.
MAX_REDIRECTS = 3
#: Far more than 20 seconds of video in the largest size need.
MAX_RESULT_BYTES = 512 * 1024 * 1024
#: A compressed body would not match its Content-Length. The API key is not sent: the URL is the
#: credential.
HEADERS: Mapping[str, str] = {"accept-encoding": "identity"}
CHUNK_BYTES = 256 * 1024


def download_error(
    status: int, headers: Mapping[str, str], *, request_id: str | None
) -> FluxError | None:
    """Return the error for an answer of the delivery host.

    :param status: HTTP status code. Redirects have been followed before.
    :param headers: a case-insensitive mapping.
    :param request_id: id of the generation, for the message.
    :return: the error, or ``None`` if the answer has the result.
    """
    if status == 200:
        return None
    if status in {401, 403, 404, 410}:
        return FluxResultExpiredError(
            f"The delivery host refused the signed URL of request {request_id} (HTTP {status}). A "
            "signed URL lives for 10 minutes after an image is ready, and longer for videos.",
            request_id=request_id,
        )
    if status == 429 or status >= 500:
        return FluxServiceError(
            f"The delivery host answered with HTTP {status}.",
            request_id=request_id,
            retry_after=parse_retry_after(headers),
        )
    return FluxUntrustedURLError(
        f"The delivery host answered with HTTP {status}.", request_id=request_id
    )


def redirect_error(url: str) -> FluxUntrustedURLError:
    """Return the error for a delivery URL that is redirected more than :data:`MAX_REDIRECTS` times.

    :param url: the last redirect.
    """
    return FluxUntrustedURLError(
        f"The delivery URL was redirected more than {MAX_REDIRECTS} times, last to "
        f"{describe_url(url)}."
    )


def broken_download_error(url: str, reason: str) -> FluxServiceError:
    """Return the error for a download that ended early.

    :param url: URL of the download.
    :param reason: name of the network failure, without addresses and secrets.
    """
    return FluxServiceError(f"The download from {describe_url(url)} ended early ({reason}).")


class BodyBuffer:
    """A buffer that holds a result in memory, up to a limit.

    :param max_bytes: largest size of the result.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Append a chunk.

        :param chunk: the next bytes of the result.
        :raises FluxImageError: if the result is larger than ``max_bytes``.
        """
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise FluxImageError(
                f"The result is larger than {self._max_bytes} bytes. The rest was not read."
            )
        self._chunks.append(chunk)

    def get(self) -> bytes:
        """Return the whole result."""
        return b"".join(self._chunks)
