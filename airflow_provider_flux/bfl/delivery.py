"""What the delivery host's answers mean. A result is a signed URL that lives for 10 minutes."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxImageError,
    FluxResultExpiredError,
    FluxServiceError,
    FluxUntrustedURLError,
)
from airflow_provider_flux.bfl.protocol import parse_retry_after
from airflow_provider_flux.bfl.redaction import describe_url

#: A delivery URL may be redirected so often, each time to a trusted host.
MAX_REDIRECTS = 3
#: Largest result that is read, in bytes: far above 20 seconds of video in the largest size.
MAX_RESULT_BYTES = 512 * 1024 * 1024
#: A compressed body would not match its Content-Length. Never a key: the URL is the credential.
HEADERS: Mapping[str, str] = {"accept-encoding": "identity"}
CHUNK_BYTES = 256 * 1024


def download_error(
    status: int, headers: Mapping[str, str], *, request_id: str | None
) -> FluxError | None:
    """Return what an answer of the delivery host means; ``None`` if it brings the image."""
    if status == 200:
        return None
    if status in {401, 403, 404, 410}:
        return FluxResultExpiredError(
            f"The signed URL of request {request_id} was refused by the delivery host (HTTP {status}): "
            "it lives for 10 minutes after an image is ready, longer for videos.",
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
    """Return the error for a delivery URL that never arrives."""
    return FluxUntrustedURLError(
        f"The delivery URL was redirected too often, last to {describe_url(url)}."
    )


def broken_download_error(url: str, reason: str) -> FluxServiceError:
    """Return the error for a download that ended early."""
    return FluxServiceError(f"The download from {describe_url(url)} broke off ({reason}).")


class BodyBuffer:
    """Collect a result in memory, up to a limit.

    :raises FluxImageError: from :meth:`add`, when the result grows over ``max_bytes``.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Append a chunk."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise FluxImageError(
                f"The result is larger than {self._max_bytes} bytes and was not read further."
            )
        self._chunks.append(chunk)

    def get(self) -> bytes:
        """Return all that was collected."""
        return b"".join(self._chunks)
