"""Open a path of an object store through Airflow's ObjectStoragePath, with errors that name the way out."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.trust import hide_userinfo, redact

_EXTRA_OF = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure"}


def open_path(uri: str, *, field: str = "output_path") -> ObjectStoragePath:
    """Return the path with its filesystem attached, so that a missing connection or package shows.

    Not to be called on an event loop: Airflow's S3 filesystem would silently lose its connection.

    :param field: the argument the path was given in, for the error message.
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
        raise FluxConfigurationError(f"{field}={hide_userinfo(uri)!r} cannot be used ({reason}). {hint}") from None
    return path


def _check_connection(uri: str) -> None:
    """Refuse a missing connection: the AWS one would be replaced by whatever credentials lie around.

    ``aws_default`` may be missing: it is how instance roles are used.
    """
    conn_id = urlsplit(uri).netloc.rpartition("@")[0]
    if conn_id and conn_id != "aws_default":
        BaseHook.get_connection(conn_id)


def _install_hint(scheme: str, error: Exception) -> str:
    extra = _EXTRA_OF.get(scheme)
    if extra is None:
        return f"{scheme}:// is not a scheme of Airflow's object storage here ({type(error).__name__})."
    return f"{scheme}:// needs more packages: pip install 'airflow-provider-flux[{extra}]'."
