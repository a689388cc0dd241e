"""Open object stores by Airflow's ObjectStoragePath, and run work on their event loop.

The asynchronous filesystems of fsspec share one event loop, which runs in a thread of its own.
Every operation on a store is a coroutine that runs there: a worker waits for it on its thread, and
the event loop of a triggerer stays free. Operations on the local disk alone may run on a thread
without an event loop instead: see :func:`run_near`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.bfl.redaction import hide_userinfo
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.blocking import run_here
from airflow_provider_flux.object_store.errors import describe_error
from airflow_provider_flux.object_store.s3_settings import complete_s3_settings

#: The extra of this package that brings the filesystem of a scheme.
_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "s3n": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
}
#: The stores that :func:`open_path` has opened in this process, as scheme and userinfo.
_OPENED: set[tuple[str, str]] = set()
#: Buckets that exist, as filesystem and name.
_KNOWN_BUCKETS: set[tuple[Any, str]] = set()
#: Beginning of the URI of a local file, and its store.
_LOCAL_URI, _LOCAL_URI_STORE = "file:///", ("file", "")
_T = TypeVar("_T")


@dataclass(frozen=True)
class LocalPath:
    """A path on the local disk, as :class:`ObjectStoragePath` has it, for a tenth of the time.

    :param path: the absolute path.
    :param fs: filesystem of fsspec.
    :param protocol: scheme of the URI, ``file``.
    """

    path: str
    fs: Any
    protocol: str = "file"

    def __str__(self) -> str:
        """Return the URI."""
        return f"file://{self.path}"


StorePath = ObjectStoragePath | LocalPath
#: The filesystem of ``file:///``, once :func:`_local_fs` has read it.
_LOCAL_FS: list[Any] = []


def open_path(uri: str, *, field: str = "output_path") -> ObjectStoragePath:
    """Open the store of a path, which reads its connection and imports its packages.

    Do not call this on an event loop: Airflow's S3 filesystem would silently lose its connection.

    :param uri: URI or local path.
    :param field: name of the operator's argument, for the error message.
    :raises FluxConfigurationError: if the store cannot be used.
    """
    scheme = uri.partition("://")[0] if "://" in uri else "file"
    try:
        _check_connection(uri)
        path = ObjectStoragePath(uri)
        complete_s3_settings(path.fs, _store_of(uri)[1])
    except ImportError as error:
        raise FluxConfigurationError(_install_hint(scheme, error)) from None
    except Exception as error:
        userinfo = _store_of(uri)[1]
        reason = describe_error(error, userinfo if ":" in userinfo else None)
        raise FluxConfigurationError(
            f"{field}={hide_userinfo(uri)!r} cannot be used ({reason}). {_hint(scheme, error)}"
        ) from None
    _OPENED.add(_store_of(uri))
    return path


def reopen_path(uri: str) -> StorePath:
    """Return a path of a store that :func:`open_path` has opened; safe on an event loop.

    :param uri: URI or local path.
    :raises FluxConfigurationError: if the store was not opened. Airflow would build it without its
        connection now.
    """
    if uri.startswith(_LOCAL_URI) and not uri.endswith("/") and (_LOCAL_URI_STORE in _OPENED):
        return LocalPath(uri[len(_LOCAL_URI) - 1 :], _local_fs())
    if _store_of(uri) not in _OPENED:
        raise FluxConfigurationError(
            f"The store of {hide_userinfo(uri)} was not opened. Call open_path() first."
        )
    return ObjectStoragePath(uri)


def check_writable(uri: str, *, field: str = "output_path") -> None:
    """Check before the submit that an image can be written, if the store reports that for free.

    :param uri: URI or local path with its placeholders. Its store must be open.
    :param field: name of the operator's argument, for the error message.
    :raises FluxConfigurationError: if the bucket does not exist, or if the worker may not write to
        the local folder.
    """
    path = reopen_path(uri)
    if path.protocol in {"", "file", "local"}:
        _check_folder(Path(path.path.partition("{")[0] + "x").parent, f"{field}={uri!r}")
    elif bucket := find_missing_bucket(uri):
        raise FluxConfigurationError(
            f"{field}={hide_userinfo(uri)!r}: there is no bucket {bucket!r}. Create it first."
        )


def find_missing_bucket(uri: str) -> str | None:
    """Return the name of the bucket of a URI if it does not exist.

    :param uri: URI of an open store, which may have placeholders.
    :return: ``None`` if the bucket exists, if its name has a placeholder, if the store has no
        buckets, or if the store does not tell.
    """
    path = reopen_path(uri)
    bucket = path.path.partition("/")[0]
    is_known = bool(bucket) and "{" not in bucket
    return bucket if is_known and not run_sync(_has_bucket(path.fs, bucket)) else None


def run_sync(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on the event loop of the stores, and wait for it on this thread.

    An exception in the wait, such as a signal, cancels the coroutine.

    :param work: the coroutine.
    :return: its result.
    """
    future = _start(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def run_async(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on the event loop of the stores, and wait for it on the caller's loop.

    A cancellation of the caller cancels the coroutine.

    :param work: the coroutine.
    :return: its result.
    :raises FluxStorageError: if the coroutine was cancelled there, and not by the caller.
    """
    future = _start(work)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling() and future.cancelled():
            raise FluxStorageError("The store cancelled the operation.") from None
        raise


async def run_near(uri: str, work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine where its store is: as :func:`run_async`, or on a thread for a local disk.

    A thread needs one hop there and one back, however many steps the coroutine has. Nothing ends a
    step on the disk, but a cancellation of the caller ends the pauses between attempts.

    A filesystem that somebody has attached to ``file://`` instead of the one of fsspec may have
    coroutines, so it gets the event loop of the stores.

    :param uri: URI of an object in the one store that the coroutine uses.
    :param work: the coroutine. For a local disk, it waits by
        :mod:`~airflow_provider_flux.object_store.blocking` alone.
    :return: its result.
    :raises FluxStorageError: as :func:`run_async` does.
    :raises RuntimeError: if the work on a local disk waits in another way.
    """
    if not (is_local(uri) and fsspec_adapter.is_plain_local(_local_fs())):
        return await run_async(work)
    is_cancelled = threading.Event()
    try:
        return await asyncio.to_thread(run_here, work, is_cancelled)
    except asyncio.CancelledError:
        is_cancelled.set()
        if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:  # no thread was free
            work.close()
        raise


def is_local(uri: str) -> bool:
    """Whether a URI or a path is on the local disk.

    :param uri: URI, or absolute path.
    """
    return uri.startswith((_LOCAL_URI, "/"))


def _local_fs() -> Any:
    if not _LOCAL_FS:
        _LOCAL_FS.append(ObjectStoragePath(_LOCAL_URI).fs)
    return _LOCAL_FS[0]


def _start(work: Coroutine[Any, Any, _T]) -> Future[_T]:
    return asyncio.run_coroutine_threadsafe(work, fsspec_adapter.store_loop())


async def _has_bucket(fs: Any, bucket: str) -> bool:
    """Whether a bucket exists; also true if that is not known.

    Credentials may not allow the question. A filesystem without coroutines is no object store with
    buckets, but may have folders that a write creates.
    """
    if not fs.async_impl:
        return True
    if (fs, bucket) not in _KNOWN_BUCKETS:
        try:
            await fsspec_adapter.ask_for_bucket(fs, bucket)
        except FileNotFoundError:
            return False
        except Exception:  # the write will report it
            return True
        _KNOWN_BUCKETS.add((fs, bucket))
    return True


def _check_folder(folder: Path, label: str) -> None:
    """Refuse a folder that cannot be created, judged by the nearest one that exists."""
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not nearest.is_dir():
        raise FluxConfigurationError(f"{label}: {nearest} is a file, not a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FluxConfigurationError(f"{label}: the worker may not write to {nearest}.")


def _store_of(uri: str) -> tuple[str, str]:
    """Return scheme and userinfo of a URI, which name its store."""
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc.rpartition("@")[0]


def _check_connection(uri: str) -> None:
    """Refuse a missing connection: boto3 would use whatever credentials the machine has.

    ``aws_default`` may be missing, since that is how instance roles are used.
    """
    _, conn_id = _store_of(uri)
    if conn_id and conn_id != "aws_default":
        BaseHook.get_connection(conn_id)


def _hint(scheme: str, error: Exception) -> str:
    """Return the remedy for an error of :func:`open_path`."""
    text = str(error)
    if "incompatible with ObjectStoragePath" in text:
        return "Airflow 3.0 needs an older package: pip install 'universal-pathlib<0.3'."
    if "filesystem" in text.lower():
        return _install_hint(scheme, error)
    if "account_name" in text:
        return (
            'Add "account_name" or "connection_string" to the extra of the connection: see '
            "docs/operations/stores.md."
        )
    return "Check its connection: docs/operations/stores.md has one for each store."


def _install_hint(scheme: str, error: Exception) -> str:
    extra = _EXTRAS.get(scheme)
    if extra is None:
        return (
            f"{scheme}:// is not a scheme of Airflow's object storage here "
            f"({type(error).__name__})."
        )
    return f"{scheme}:// needs more packages: pip install 'airflow-provider-flux[{extra}]'."
