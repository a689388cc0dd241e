"""The download of a result, without I/O: limits, and the errors of the delivery host.

A result is a signed URL, which names its own expiry. BFL's documentation says 10 minutes for an
image, and longer for videos and newer models.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from airflow_provider_flux.bfl.content_encoding import ACCEPT_ENCODING
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxImageError,
    FluxResultExpiredError,
    FluxServiceError,
    FluxUntrustedURLError,
)
from airflow_provider_flux.bfl.expiry import answered_at, describe_time, read_expiry
from airflow_provider_flux.bfl.http_messages import parse_retry_after
from airflow_provider_flux.bfl.redaction import describe_url

#: A delivery URL may be redirected this often, each time to a trusted host.
MAX_REDIRECTS = 3
#: Far more than 20 seconds of video in the largest size need.
MAX_RESULT_BYTES = 512 * 1024 * 1024
#: Far more than 16 megapixels need in any format.
MAX_IMAGE_BYTES = 128 * 1024 * 1024
#: BFL takes draft caches of up to 128 MB.
MAX_DRAFT_CACHE_BYTES = 256 * 1024 * 1024
#: Largest result that a server compressed although the request asked it not to.
MAX_DECODED_BYTES = 16 * 1024 * 1024
#: A compressed body would not match its Content-Length. The API key is not sent: the URL is the
#: credential.
HEADERS: Mapping[str, str] = {"accept-encoding": ACCEPT_ENCODING}
CHUNK_BYTES = 256 * 1024


def download_error(
    status: int, headers: Mapping[str, str], *, request_id: str | None, url: str = ""
) -> FluxError | None:
    """Return the error for an answer of the delivery host.

    :param status: HTTP status code. Redirects have been followed before.
    :param headers: a case-insensitive mapping.
    :param request_id: id of the generation, for the message.
    :param url: the signed URL, for its expiry.
    :return: the error, or ``None`` if the answer has the result.
    """
    if status == 200:
        return None
    if status in {400, 401, 403, 404, 410}:
        return _refused_url_error(status, headers, request_id=request_id, url=url)
    if status in {408, 409, 421, 425, 429} or status >= 500:
        return FluxServiceError(
            f"The delivery host answered with HTTP {status}.",
            request_id=request_id,
            retry_after=parse_retry_after(headers),
        )
    return FluxUntrustedURLError(
        f"The delivery host answered with HTTP {status}.", request_id=request_id
    )


def _refused_url_error(
    status: int, headers: Mapping[str, str], *, request_id: str | None, url: str
) -> FluxResultExpiredError:
    now = time.time()
    expiry = read_expiry(url, now)
    is_still_valid = expiry is not None and answered_at(headers, now) < expiry
    if expiry is None:
        reason = ". It names no expiry. BFL documents 10 minutes for an image"
    elif is_still_valid:
        reason = f", although it is valid until {describe_time(expiry)}"
    else:
        reason = f": it expired at {describe_time(expiry)}"
    return FluxResultExpiredError(
        f"The delivery host refused the signed URL of request {request_id} (HTTP {status})"
        f"{reason}.",
        request_id=request_id,
        is_still_valid=is_still_valid,
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
