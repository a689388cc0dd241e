"""One verified put: what lies at the target is the whole image, or what was there before.

``path.open("wb")`` publishes a truncated object when its block raises, so the bytes are complete in
memory before a single ``pipe_file`` (one PUT on s3, gs and abfs) or a rename (local files).
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.bfl.trust import redact

_POINTLESS_TO_RETRY = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError, TypeError, ValueError)


def put(uri: str, data: bytes, content_type: str) -> str:
    """Write ``data`` in one piece, replacing what is there, and return the URI.

    The target should have been opened once with :func:`~airflow_provider_flux.stores.open_path`; its
    connection is not read again.

    :raises FluxStorageError: if it could not be written; the old object, or none, is there then.
    """
    retrying = Retrying(
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(multiplier=0.5, max=5),
        retry=retry_if_exception(lambda error: not isinstance(error, _POINTLESS_TO_RETRY)),
        reraise=True,
    )
    try:
        retrying(_put_once, ObjectStoragePath(uri), data, content_type)
    except Exception as error:
        reason = f"{type(error).__name__}: {redact(str(error))[:300]}"
        raise FluxStorageError(f"The image could not be written to {uri} ({reason}).") from None
    return uri


def _put_once(path: ObjectStoragePath, data: bytes, content_type: str) -> None:
    if path.protocol in {"", "file", "local"}:
        _replace_file(Path(path.path), data)
    else:
        path.fs.pipe_file(path.path, data, **_content_type_option(path.protocol, content_type))


def _content_type_option(protocol: str, content_type: str) -> dict[str, Any]:
    """Each filesystem has its own word for the content type; by default all store octet-stream."""
    if protocol in {"s3", "s3a", "s3n"}:
        return {"ContentType": content_type}
    if protocol in {"gs", "gcs"}:
        return {"content_type": content_type}
    if protocol in {"abfs", "abfss", "adl"}:
        from azure.storage.blob import ContentSettings  # type: ignore[import-not-found]  # a dict works with the newest adlfs only

        return {"content_settings": ContentSettings(content_type=content_type)}
    return {}


def _replace_file(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
