"""Object stores through Airflow's ObjectStoragePath: open one, and work with it from a thread or an event loop.

The filesystems behind it have an event loop of their own, in a thread of its own. What is done to a
store is a coroutine that runs there: a worker waits for it, and the loop of a triggerer stays free.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath
from fsspec.asyn import get_loop  # type: ignore[import-untyped]

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.bfl.redaction import hide_userinfo, redact

_EXTRA_OF = {
    "s3": "s3",
    "s3a": "s3",
    "s3n": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
}
#: Connections of one store. botocore's default of 10 would hold back 24 active tasks.
_CONNECTIONS = 32
#: What :func:`open_path` has opened in this process, as scheme and connection.
_OPENED: set[tuple[str, str]] = set()
#: Buckets that are there.
_BUCKETS: set[tuple[Any, str]] = set()
_T = TypeVar("_T")


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
        _widen_pool(path.fs)
    except ImportError as error:
        raise FluxConfigurationError(_install_hint(scheme, error)) from None
    except Exception as error:
        userinfo = _store_of(uri)[1]
        said = redact(str(error), userinfo if ":" in userinfo else None)
        reason = f"{type(error).__name__}: {said[:300]}"
        raise FluxConfigurationError(
            f"{field}={hide_userinfo(uri)!r} cannot be used ({reason}). {_hint(scheme, error)}"
        ) from None
    _OPENED.add(_store_of(uri))
    return path


def check_writable(uri: str) -> None:
    """Refuse a place where nothing can be written, as far as that can be told for free: before anything is paid.

    :param uri: with its placeholders.
    :raises FluxConfigurationError: if the bucket does not exist, or the folder cannot be written to.
    """
    path = reopen_path(uri)
    bucket = path.path.partition("/")[0]
    if path.protocol in {"", "file", "local"}:
        _check_folder(Path(path.path.partition("{")[0] + "x").parent, uri)
    elif bucket and "{" not in bucket and not run_sync(_is_there(path.fs, bucket)):
        raise FluxConfigurationError(
            f"output_path={hide_userinfo(uri)!r}: there is no bucket {bucket!r}. Create it first."
        )


async def _is_there(fs: Any, bucket: str) -> bool:
    """Whether there is a bucket; where that may not be asked, the write will tell."""
    if (fs, bucket) not in _BUCKETS:
        try:
            await fs._info(bucket)
        except FileNotFoundError:
            return False
        except Exception:
            return True
        _BUCKETS.add((fs, bucket))
    return True


def _check_folder(folder: Path, uri: str) -> None:
    """Refuse a folder that cannot be made, by the nearest one there is."""
    nearest = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if not nearest.is_dir():
        raise FluxConfigurationError(f"output_path={uri!r}: {nearest} is a file, not a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FluxConfigurationError(f"output_path={uri!r}: the worker may not write to {nearest}.")


def reopen_path(uri: str) -> ObjectStoragePath:
    """Return a path of a store that :func:`open_path` has opened; may be called on an event loop.

    :raises FluxConfigurationError: if it was not opened: what Airflow builds then may lack its connection.
    """
    if _store_of(uri) not in _OPENED:
        raise FluxConfigurationError(
            f"The store of {hide_userinfo(uri)} was not opened: open_path() comes first."
        )
    return ObjectStoragePath(uri)


def run_sync(work: Coroutine[Any, Any, _T]) -> _T:
    """Do something to a store and wait for it on this thread; when the wait is broken off, so is the work."""
    future = _start(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def run_async(work: Coroutine[Any, Any, _T]) -> _T:
    """Do something to a store and wait for it on an event loop, which stays free.

    :raises FluxStorageError: if it was cancelled there, which is no cancellation of the caller.
    """
    future = _start(work)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling() and future.cancelled():
            raise FluxStorageError("The store broke off what it was asked to do.") from None
        raise


def _start(work: Coroutine[Any, Any, _T]) -> Future[_T]:
    return asyncio.run_coroutine_threadsafe(work, get_loop())


def _store_of(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc.rpartition("@")[0]


def _check_connection(uri: str) -> None:
    """Refuse a missing connection: the AWS one would be replaced by whatever credentials lie around.

    ``aws_default`` may be missing: it is how instance roles are used.
    """
    conn_id = urlsplit(uri).netloc.rpartition("@")[0]
    if conn_id and conn_id != "aws_default":
        BaseHook.get_connection(conn_id)


def _widen_pool(fs: Any) -> None:
    """Give S3 as many connections as images may be on their way, unless the connection says otherwise."""
    if "s3" in fs.protocol and isinstance(getattr(fs, "config_kwargs", None), dict):
        fs.config_kwargs.setdefault("max_pool_connections", _CONNECTIONS)


def _hint(scheme: str, error: Exception) -> str:
    text = str(error)
    if "incompatible with ObjectStoragePath" in text:
        return "Airflow 3.0 needs an older package: pip install 'universal-pathlib<0.3'."
    if "filesystem" in text.lower():
        return _install_hint(scheme, error)
    if "account_name" in text:
        return 'The connection needs "account_name" or "connection_string" in its extra: see docs/object-storage.md.'
    return "Check its connection: docs/object-storage.md has one for each store."


def _install_hint(scheme: str, error: Exception) -> str:
    extra = _EXTRA_OF.get(scheme)
    if extra is None:
        return f"{scheme}:// is not a scheme of Airflow's object storage here ({type(error).__name__})."
    return f"{scheme}:// needs more packages: pip install 'airflow-provider-flux[{extra}]'."
