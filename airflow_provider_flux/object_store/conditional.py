"""Compare and swap one small object: write it only if nobody has changed it since it was read.

The coroutines run on the event loop of the stores:
see :mod:`~airflow_provider_flux.object_store.filesystem`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.bfl.redaction import hide_userinfo
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.errors import describe_error, is_conflict, is_transient
from airflow_provider_flux.object_store.filesystem import StorePath, reopen_path
from airflow_provider_flux.object_store.local_versions import LockBusyError, lock_beside
from airflow_provider_flux.object_store.objects import retry_transient
from airflow_provider_flux.object_store.versioned_writes import (
    CONDITIONAL_STORES,
    ConditionalStore,
    StoredVersion,
)

__all__ = [
    "StoredVersion",
    "VersionConflictError",
    "check_conditional",
    "read_version",
    "replace_version",
]

#: Name of the object that shows whether a store heeds conditions. It stays: nobody needs the right
#: to remove it.
PROBE_NAME = "conditional-write-probe.txt"
_PROBE_CONTENT = b"Written by airflow-provider-flux, to prove that this store heeds conditions.\n"
_PROBE_OPTIONS = WriteOptions(content_type="text/plain")
#: Buckets that heed conditions, as filesystem and name.
_PROVED: set[tuple[Any, str]] = set()


class VersionConflictError(FluxStorageError):
    """Another writer changed the object first. It is unchanged by the write that raised this."""


async def read_version(uri: str, *, max_bytes: int) -> StoredVersion | None:
    """Read an object and its version. Transient errors are retried for 45 seconds.

    A refusal is an error, never "no object": whoever takes that for empty loses what is there.

    :param uri: URI of the object, in a store that :func:`check_conditional` has accepted.
    :param max_bytes: size in bytes above which the object is refused, and not read further.
    :return: ``None`` if there is no object.
    :raises FluxStorageError: if the store cannot answer, or if the object is too large.
    """
    stored = await _read(uri, max_bytes + 1)
    if stored is not None and len(stored.data) > max_bytes:
        raise FluxStorageError(f"{uri} has more than {max_bytes} bytes, and is not read further.")
    return stored


async def replace_version(uri: str, data: bytes, version: str | None, options: WriteOptions) -> str:
    """Write an object if it still has a version.

    Transient errors are retried for 45 seconds. If an answer was lost, the object is read back: the
    same bytes mean that it was written. So the bytes of two writers must differ.

    :param uri: URI of the object, in a store that :func:`check_conditional` has accepted.
    :param data: its new content.
    :param version: the version that it must have; ``None`` if there must be no object.
    :param options: how to store it.
    :return: the new version.
    :raises VersionConflictError: if another writer was first.
    :raises FluxStorageError: if the store does not write it. If its answer was lost, the store may
        still write it later.
    """
    path = reopen_path(uri)
    write = _find_store(path).write
    try:
        return await retry_transient()(write, path.fs, path.path, data, version, options)
    except Exception as error:
        # S3 answers 404 to If-Match if the object is gone.
        is_lost = is_conflict(error) or (version and isinstance(error, FileNotFoundError))
        if not (is_lost or is_transient(error)):
            raise _refuse_write(uri, error) from None
        failure = error
    stored = await _read(uri, len(data) + 1)
    if stored is not None and stored.data == data:
        return stored.version
    if is_lost:
        raise VersionConflictError(f"Another writer changed {uri} at the same moment.")
    raise _refuse_write(uri, failure)


async def check_conditional(uri: str) -> None:
    """Check that the store of an object can compare and swap.

    Some S3 servers ignore the condition, always or in versioned buckets. So a small object beside
    the given one is written with conditions that must fail, once for each bucket and process.

    :param uri: URI of the object. Its store must be open.
    :raises FluxConfigurationError: if it cannot.
    :raises FluxStorageError: if the store does not answer, or refuses the credentials.
    """
    path = reopen_path(uri)
    store = _find_store(path)
    if path.protocol in {"", "file", "local"}:
        await asyncio.to_thread(_check_locks, Path(path.path))
        return
    bucket = (path.fs, path.path.partition("/")[0])
    if bucket in _PROVED:
        return
    probe = f"{uri.rpartition('/')[0]}/{PROBE_NAME}"
    await _is_refused(store, probe, None)  # now it exists
    refusals = await asyncio.gather(
        _is_refused(store, probe, None), _is_refused(store, probe, store.unused_version)
    )
    if not all(refusals):
        raise FluxConfigurationError(
            f"{hide_userinfo(uri)}: this store ignores the condition of a write (If-Match or "
            "If-None-Match), so two tasks would overwrite each other's changes. Name a bucket of "
            "AWS S3, GCS or Azure, a bucket without versions of a Ceph store, or a local folder."
        )
    _PROVED.add(bucket)


async def _is_refused(store: ConditionalStore, uri: str, version: str | None) -> bool:
    path = reopen_path(uri)
    try:
        await retry_transient()(
            store.write, path.fs, path.path, _PROBE_CONTENT, version, _PROBE_OPTIONS
        )
    except Exception as error:
        if is_conflict(error):
            return True
        raise _refuse_write(uri, error) from None
    return False


def _refuse_write(uri: str, error: Exception) -> FluxStorageError:
    return FluxStorageError(f"{uri} could not be written ({describe_error(error)}).")


async def _read(uri: str, limit: int) -> StoredVersion | None:
    path = reopen_path(uri)
    store = _find_store(path)
    try:
        stored: StoredVersion | None = await retry_transient()(
            store.read, path.fs, path.path, limit
        )
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be read ({describe_error(error)}).") from None
    return stored


def _find_store(path: StorePath) -> ConditionalStore:
    for store in CONDITIONAL_STORES:
        if path.protocol in store.schemes:
            return store
    raise FluxConfigurationError(
        f"{hide_userinfo(str(path))}: a store of scheme {path.protocol}:// cannot compare and swap "
        "an object. Name a folder in S3, GCS, Azure or on a local disk: s3://, gs://, abfs://, "
        "file:// or an absolute path."
    )


def _check_locks(target: Path) -> None:
    try:
        with lock_beside(target):
            pass
    except LockBusyError:  # so locks work
        return
    except OSError as error:
        raise FluxConfigurationError(
            f"{target.parent} cannot be used ({describe_error(error)}). The folder must be "
            "writable, and its filesystem must support locks."
        ) from None
