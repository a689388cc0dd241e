"""Confirm that an exclusive write created its object, on stores that may ignore the condition.

AWS, GCS, Azure and a local disk decide in the write itself. Other S3 servers may ignore
``If-None-Match``: Ceph 16 does in versioned buckets, ``rclone serve s3`` always. Then two writers
both succeed, and one of them has to find out that it lost.

- In a versioned bucket, each write has its place in the order of versions. A write created the
  object if no other version is directly below its own. This is exact. The loser removes its own
  version, which restores that of the winner.
- Elsewhere the last writer wins. Each one waits until the writes of the others have ended, and
  reads the object. Two writers both win only if one of them needs longer than that between its
  look at the store and its write.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from airflow_provider_flux.bfl.errors import FluxExistsError
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.backends import OTHER_BACKEND, backend_of
from airflow_provider_flux.object_store.blocking import pause
from airflow_provider_flux.object_store.errors import (
    describe_error,
    is_conflict,
    is_forbidden,
    is_transient,
)
from airflow_provider_flux.object_store.filesystem import StorePath
from airflow_provider_flux.object_store.s3_settings import is_aws

log = logging.getLogger(__name__)

#: Seconds that a writer waits for the writes of others, on a store that ignores the condition.
_SETTLE_SECONDS = 2.0
#: Whether a bucket refuses an exclusive write, by filesystem and bucket.
_REFUSING: dict[tuple[Any, str], bool] = {}
#: Buckets, of each filesystem, whose lack of exclusive writes is in the log.
_WARNED: set[tuple[Any, str]] = set()


def refuse_existing(path: StorePath) -> FluxExistsError:
    """Return the error for an object that an exclusive write must not replace.

    :param path: path of the object.
    """
    return FluxExistsError(f"There is an object at {path} already; it is untouched.")


async def confirm_created(
    path: StorePath, data: bytes, version: str | None, repeat: Callable[[], Awaitable[Any]]
) -> None:
    """Confirm that an exclusive write, which the store accepted, created its object.

    :param path: path of the object.
    :param data: its content.
    :param version: the version that the write made, if the bucket is versioned.
    :param repeat: sends the very same exclusive write again. A store that heeds the condition
        refuses it. It runs once for each bucket.
    :raises FluxExistsError: if another writer was first.
    """
    if backend_of(path.protocol) is OTHER_BACKEND:
        await _confirm_by_reading(path, data)
        return
    if not fsspec_adapter.is_s3(path.fs) or is_aws(fsspec_adapter.s3_endpoint(path.fs)):
        return
    if version is not None and await _confirm_by_versions(path, data, version):
        return
    if version is not None or not await _refuses(path, repeat):
        await _confirm_by_reading(path, data)


async def confirm_plain_write(path: StorePath, data: bytes) -> None:
    """Confirm a plain write in place of an exclusive one, which the store does not support.

    :param path: path of the object.
    :param data: its content.
    :raises FluxExistsError: if another writer replaced the object.
    """
    await _confirm_by_reading(path, data)


async def _refuses(path: StorePath, repeat: Callable[[], Awaitable[Any]]) -> bool:
    """Whether the bucket refuses an exclusive write to an object that exists."""
    bucket = (path.fs, path.path.partition("/")[0])
    if bucket not in _REFUSING:
        try:
            await repeat()
            _REFUSING[bucket] = False
        except Exception as error:
            if is_transient(error):
                raise
            if not is_conflict(error):  # that says nothing about the condition
                return False
            _REFUSING[bucket] = True
    return _REFUSING[bucket]


async def _confirm_by_versions(path: StorePath, data: bytes, version: str) -> bool:
    """Confirm by the order of the versions.

    :return: whether the versions could be listed, and the write created the object.
    :raises FluxExistsError: if there was another version before.
    """
    try:
        is_first = await _is_first_version(path, data, version)
    except Exception as error:
        if is_transient(error):
            raise
        log.debug("The versions of %s cannot be listed (%s)", path, describe_error(error))
        return False
    if not is_first:
        with suppress(Exception):  # without the right to do so, both versions stay
            await fsspec_adapter.remove_s3_version(path.fs, path.path, version)
        raise refuse_existing(path)
    return True


async def _is_first_version(path: StorePath, data: bytes, version: str) -> bool:
    """Whether no version is below one, except for those with the same bytes.

    They are earlier attempts of the same writer, whose answers were lost.
    """
    below = await fsspec_adapter.find_s3_version_below(path.fs, path.path, version)
    while below is not None:
        try:
            stored = await fsspec_adapter.read_s3_version(path.fs, path.path, below)
        except FileNotFoundError:  # its writer has lost too, and removed it
            below = version
        except Exception as error:
            if is_forbidden(error):
                return False
            raise
        else:
            if stored != data:
                return False
        below = await fsspec_adapter.find_s3_version_below(path.fs, path.path, below)
    return True


async def _confirm_by_reading(path: StorePath, data: bytes) -> None:
    """Confirm by reading the object once the writes of others have ended: the last one wins."""
    _warn_once(path)
    await pause(_SETTLE_SECONDS)
    try:
        stored = await fsspec_adapter.read_bytes(path.fs, path.path)
    except Exception as error:
        log.warning("%s could not be read back (%s).", path, describe_error(error))
        return
    if stored != data:
        raise FluxExistsError(f"Another process wrote the object at {path} at the same moment.")


def _warn_once(path: StorePath) -> None:
    store = (path.fs, path.path.partition("/")[0])
    if store not in _WARNED:
        _WARNED.add(store)
        log.warning(
            "The store of %s does not refuse to replace an object. Each exclusive write waits %g "
            "seconds and reads the object back. Two processes that are further apart can still "
            "replace each other's object, or both submit.",
            path,
            _SETTLE_SECONDS,
        )
