"""The age of an object, by the clock of its store alone.

The clocks of workers differ, so an age never compares the time of an object with that of a machine.
The store stamps a small object of this package, once for each process and folder, and the time
since then is measured by a clock that cannot be set.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import reopen_path
from airflow_provider_flux.object_store.objects import put

#: Name of the object that the store stamps. It stays, so that nobody needs the right to remove it.
CLOCK_NAME = "clock.txt"
_CONTENT = b"Written by airflow-provider-flux, to read the clock of this store.\n"
#: Names by which filesystems report when an object was written.
_TIME_FIELDS = ("LastModified", "last_modified", "mtime", "updated", "created")
#: Time of the store minus monotonic time of this process, by filesystem and folder.
_OFFSETS: dict[tuple[Any, str], float] = {}


async def read_age(uri: str, write_options: WriteOptions) -> float | None:
    """Return the seconds since an object was written. Run it on the loop of the stores.

    The result may be too small by the duration of one write, and by the resolution of the store,
    which is a second for S3. It is never negative.

    :param uri: URI of the object.
    :param write_options: options of a write beside it.
    :return: ``None`` if the object is gone, or if the store does not tell.
    """
    written = await _read_time(uri)
    if written is None:
        return None
    folder = uri.rpartition("/")[0]
    key = (reopen_path(uri).fs, folder)
    if key not in _OFFSETS:
        offset = await _read_offset(f"{folder}/{CLOCK_NAME}", write_options)
        if offset is None:
            return None
        _OFFSETS[key] = offset
    return max(0.0, _OFFSETS[key] + time.monotonic() - written)


async def read_store_time(folder: str, write_options: WriteOptions) -> float:
    """Return the time by the clock of a store. Run it on the loop of the stores.

    It may be behind by the duration of one write, and by the resolution of the store.

    :param folder: URI of a folder of this package, without a slash at its end.
    :param write_options: options of a write in it.
    :return: epoch seconds.
    :raises FluxStorageError: if the store does not tell its time.
    """
    key = (reopen_path(folder).fs, folder)
    if key not in _OFFSETS:
        offset = await _read_offset(f"{folder}/{CLOCK_NAME}", write_options)
        if offset is None:
            raise FluxStorageError(
                f"The store did not tell when it wrote {folder}/{CLOCK_NAME}, so its time is not "
                "known. A retry may help."
            )
        _OFFSETS[key] = offset
    return _OFFSETS[key] + time.monotonic()


async def _read_offset(uri: str, write_options: WriteOptions) -> float | None:
    try:
        await put(uri, _CONTENT, write_options)
    except FluxError:
        return None
    after = time.monotonic()
    now = await _read_time(uri)
    return None if now is None else now - after


async def _read_time(uri: str) -> float | None:
    """Return the epoch seconds at which the store wrote an object, by its own clock."""
    path = reopen_path(uri)
    try:
        path.fs.invalidate_cache()
        facts = await fsspec_adapter.call(path.fs, "info", path.path)
    except Exception:
        return None
    values = (facts.get(name) for name in _TIME_FIELDS)
    return _to_epoch(next((value for value in values if value is not None), None))


def _to_epoch(value: Any) -> float | None:
    """Return a time, as a filesystem reports it, in epoch seconds."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, (int, float)) else None
