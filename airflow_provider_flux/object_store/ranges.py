"""Read parts of an object, and its size and version.

The coroutines run on the event loop of the stores:
see :mod:`~airflow_provider_flux.object_store.filesystem`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.errors import describe_error
from airflow_provider_flux.object_store.filesystem import reopen_path

#: Names that filesystems of fsspec give the version of an object, or the time of its last write.
_VERSION_NAMES = ("ETag", "etag", "generation", "LastModified", "last_modified", "mtime")


@dataclass(frozen=True)
class ObjectFacts:
    """The size and the version of an object.

    :param bytes: size in bytes.
    :param version: text that changes when the object is written again: its ETag, generation or
        time of the last write, and its size.
    """

    bytes: int
    version: str


async def find_object(uri: str) -> ObjectFacts | None:
    """Return size and version of an object; cached listings do not count.

    :param uri: URI of the object.
    :return: ``None`` if it does not exist, or is a folder or a pipe.
    :raises FluxStorageError: if the store cannot answer.
    """
    path = reopen_path(uri)
    try:
        path.fs.invalidate_cache()
        info: Mapping[str, Any] = await fsspec_adapter.call(path.fs, "info", path.path)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be found ({describe_error(error)}).") from None
    if info.get("type") != "file":
        return None
    version = next((str(info[name]) for name in _VERSION_NAMES if info.get(name)), "")
    size = int(info.get("size") or 0)
    return ObjectFacts(size, f"{version}-{size}")


async def read_range(uri: str, start: int, end: int) -> bytes:
    """Read a part of an object in one request.

    :param uri: URI of the object.
    :param start: first byte, from 0. It must be below the size of the object.
    :param end: byte after the last one. Bytes beyond the end of the object are left out.
    :raises FluxStorageError: if the object does not exist, or the store cannot answer.
    """
    path = reopen_path(uri)
    try:
        return await fsspec_adapter.read_range(path.fs, path.path, start, end)
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be read ({describe_error(error)}).") from None
