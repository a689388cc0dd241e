"""One verified put: what lies at the target is the whole image, or what was there before.

``path.open("wb")`` publishes a truncated object when its block raises, so the bytes are complete in
memory before a single ``pipe_file`` (one PUT on s3, gs and abfs) or a rename (local files).
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.bfl.trust import redact

_EXTRA_OF = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure"}
_POINTLESS_TO_RETRY = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError, TypeError, ValueError)


def open_target(uri: str) -> ObjectStoragePath:
    """Return the path with its filesystem attached, so that a missing connection or package shows.

    Not to be called on an event loop: Airflow's S3 filesystem would silently lose its connection.

    :raises FluxConfigurationError: if the store cannot be used.
    """
    scheme = uri.partition("://")[0] if "://" in uri else "file"
    try:
        _check_connection(uri)
        path = ObjectStoragePath(uri)
        _ = path.fs
    except ImportError as error:
        raise FluxConfigurationError(_install_hint(scheme, error)) from None
    except Exception as error:
        reason = f"{type(error).__name__}: {redact(str(error))[:300]}"
        hint = _install_hint(scheme, error) if "filesystem" in str(error).lower() else "Check its connection."
        raise FluxConfigurationError(f"output_path={uri!r} cannot be used ({reason}). {hint}") from None
    return path


def put(uri: str, data: bytes, content_type: str) -> str:
    """Write ``data`` in one piece, replacing what is there, and return the URI.

    The target should have been opened once with :func:`open_target`; its connection is not read again.

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


def _check_connection(uri: str) -> None:
    """Refuse a missing connection: the AWS one would be replaced by whatever credentials lie around.

    ``aws_default`` may be missing: it is how instance roles are used.
    """
    conn_id = urlsplit(uri).netloc.rpartition("@")[0]
    if conn_id and conn_id != "aws_default":
        BaseHook.get_connection(conn_id)


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


def _install_hint(scheme: str, error: Exception) -> str:
    extra = _EXTRA_OF.get(scheme)
    if extra is None:
        return f"{scheme}:// is not a scheme of Airflow's object storage here ({type(error).__name__})."
    return f"{scheme}:// needs more packages: pip install 'airflow-provider-flux[{extra}]'."
