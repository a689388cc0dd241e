"""Objects of a store, opened for a browser: their type by their bytes, their size, their version.

A record says where an object is, and may be wrong about all else. Only images, videos and sidecars
are served, and only what they are counts, not what a name or a store says.

The functions block: call them in a thread of :mod:`~airflow_provider_flux.plugin.workers`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxError
from airflow_provider_flux.landing.xmp import has_request_id
from airflow_provider_flux.media.video import is_mp4
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.errors import is_withheld
from airflow_provider_flux.object_store.filesystem import (
    StorePath,
    open_path,
    reopen_path,
    run_sync,
)
from airflow_provider_flux.object_store.objects import read_hint, read_start

#: Bytes of the largest object that is read whole, so that its SHA-256 is checked. A larger one is
#: sent in parts, and its size is checked.
MAX_WHOLE_BYTES = 8 * MIB
#: Bytes of the largest object: the operators land none that is larger.
_MAX_BYTES = 512 * MIB
#: Bytes of one part of an answer.
PART_BYTES = MIB
_HEAD_BYTES = 64
#: Seconds until a store must answer.
_READ_SECONDS = 30.0
#: Small objects that are read at the same time.
_READS_AT_ONCE = 64
_LOCAL_PROTOCOLS = frozenset({"", "file", "local"})
T = TypeVar("T")


class ObjectError(Exception):
    """An object that cannot be served.

    :param status: HTTP status.
    :param text: sentence for the user, without data of strangers.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class StoredObject:
    """An object that was found, and whose type is known.

    :param uri: its URI.
    :param size: number of its bytes.
    :param content_type: its MIME type, by its bytes.
    :param etag: text that changes with its content.
    :param data: its bytes; ``None`` if it is too large to be read whole.
    """

    uri: str
    size: int
    content_type: str
    etag: str
    data: bytes | None

    def part(self, start: int, end: int) -> bytes:
        """Return a range of the bytes.

        :param start: offset of the first byte.
        :param end: offset after the last byte.
        :raises ObjectError: if the object is gone, or the store does not answer.
        """
        return read_range(self.uri, start, end) if self.data is None else self.data[start:end]


def open_media(uri: str, *, sha256: str | None = None, size: int | None = None) -> StoredObject:
    """Open an image or a video.

    :param uri: URI of the object, which the caller has checked against the folder of its task.
    :param sha256: SHA-256 that its record names, in hexadecimal; ``None`` for an unknown one.
    :param size: number of bytes that its record names; ``None`` for an unknown one.
    :raises ObjectError: if it is gone, too large, no image or video, or has changed since it
        landed.
    """
    data = _read_whole(uri) if size is None or size <= MAX_WHOLE_BYTES else None
    if data is not None:
        digest = hashlib.sha256(data).hexdigest()
        if (sha256 is not None and sha256 != digest) or (size is not None and size != len(data)):
            raise _has_changed()
        return StoredObject(uri, len(data), _media_type_of(data[:_HEAD_BYTES]), digest, data)
    found, version = find_size(uri)
    if size is not None and size != found:
        raise _has_changed()
    content_type = _media_type_of(read_range(uri, 0, _HEAD_BYTES))
    return StoredObject(uri, found, content_type, f"{found}-{version}", None)


def open_thumb(uri: str, request_id: str | None) -> StoredObject | None:
    """Open the thumbnail of an image, if it is one of this image.

    A later image at the same path has replaced the thumbnail, too.

    :param uri: URI of the object, which the caller has checked against the folder of its task.
    :param request_id: BFL's id of the request of the image; ``None`` if it is not known.
    :return: ``None`` if it is gone, or of another request.
    :raises ObjectError: if it is too large, or the store does not answer.
    """
    try:
        found = open_media(uri)
    except ObjectError as problem:
        if problem.status in {404, 415}:
            return None
        raise
    is_own = not request_id or (found.data and has_request_id(found.data, request_id))
    return found if is_own else None


def read_small(uri: str, max_bytes: int) -> bytes:
    """Read a small object, for example a sidecar.

    :param uri: URI of the object, which the caller has checked against the folder of its task.
    :param max_bytes: largest number of bytes.
    :raises ObjectError: if it is gone, or too large.
    """
    path = _open(uri)
    _check_regular(path)
    data = _ask(lambda: read_start(uri, max_bytes + 1))
    if data is None:
        raise _is_gone()
    if len(data) > max_bytes:
        raise ObjectError(413, "The object is too large to be shown.")
    return data


def read_hints(uris: list[str], max_bytes: int, seconds: float) -> dict[str, bytes]:
    """Read some small objects at the same time, as far as they are there in time.

    :param uris: URIs of objects in one store or several, which the caller has checked.
    :param max_bytes: bytes of the largest one.
    :param seconds: seconds after which the others count as missing.
    :return: the bytes by URI, without those that are gone or cannot be read.
    """
    opened = [uri for uri in uris if _is_open(uri)]
    slots = asyncio.Semaphore(_READS_AT_ONCE)

    async def read_one(uri: str) -> bytes | None:
        async with slots:
            return await read_hint(uri, max_bytes) if await _is_regular(uri) else None

    async def read_all() -> dict[str, bytes]:
        tasks = {uri: asyncio.create_task(read_one(uri)) for uri in opened}
        done, waiting = await asyncio.wait(tasks.values(), timeout=seconds)
        for task in waiting:
            task.cancel()
        return {
            uri: data
            for uri, task in tasks.items()
            if task in done and task.exception() is None and (data := task.result()) is not None
        }

    return run_sync(read_all()) if opened else {}


def find_size(uri: str) -> tuple[int, str]:
    """Return the size of an object in bytes, and a text that changes with its content.

    :param uri: URI of the object, which the caller has checked against the folder of its task.
    :raises ObjectError: if it is gone, too large, or no regular file.
    """
    info = _info_of(_open(uri))
    size = info.get("size")
    if info.get("type") != "file" or not isinstance(size, int):
        raise _is_gone()
    if size > _MAX_BYTES:
        raise ObjectError(413, "The object is too large to be shown.")
    return size, _version_of(info)


def read_range(uri: str, start: int, end: int) -> bytes:
    """Return a range of the bytes of an object. It is shorter if the object ends before.

    :param uri: URI of the object, which the caller has checked against the folder of its task.
    :param start: offset of the first byte.
    :param end: offset after the last byte.
    :raises ObjectError: if it is gone, or the store does not answer.
    """
    if end <= start:
        return b""
    path = _open(uri)
    _check_regular(path)
    return bytes(_ask(lambda: fsspec_adapter.call(path.fs, "cat_file", path.path, start, end)))


def _read_whole(uri: str) -> bytes | None:
    """Return the bytes of an object in one request; ``None`` if it is too large for that."""
    try:
        return read_small(uri, MAX_WHOLE_BYTES)
    except ObjectError as problem:
        if problem.status == 413:
            return None
        raise


def _is_open(uri: str) -> bool:
    """Whether the store of an object can be opened."""
    try:
        _open(uri)
    except ObjectError:
        return False
    return True


async def _is_regular(uri: str) -> bool:
    """Whether a local file has an end. Objects of other stores have one."""
    path = reopen_path(uri)
    if path.protocol not in _LOCAL_PROTOCOLS:
        return True
    info = await fsspec_adapter.call(path.fs, "info", path.path)
    return bool(info.get("type") == "file")


def _check_regular(path: StorePath) -> None:
    """Refuse a local file that is a folder, or a pipe: a read of it would never end."""
    if path.protocol in _LOCAL_PROTOCOLS and _info_of(path).get("type") != "file":
        raise _is_gone()


def _info_of(path: StorePath) -> dict[str, Any]:
    async def ask() -> Any:
        path.fs.invalidate_cache()
        return await fsspec_adapter.call(path.fs, "info", path.path)

    return dict(_ask(ask))


def _open(uri: str) -> StorePath:
    """Open the store of an object. Only the first time reads its connection."""
    try:
        return reopen_path(uri)
    except FluxConfigurationError:
        pass
    try:
        return open_path(uri)
    except FluxError:
        raise ObjectError(
            503, "The API server cannot open the store: its connection or a package is missing."
        ) from None


def _ask(question: Callable[[], Awaitable[T]]) -> T:
    """Ask a store, and turn its errors into problems that say nothing about its content."""

    async def work() -> T:
        return await asyncio.wait_for(question(), _READ_SECONDS)

    try:
        return run_sync(work())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise _is_gone() from None
    except Exception as error:
        if is_withheld(error):
            raise _is_gone() from None
        raise ObjectError(503, "The store does not answer.") from None


def _media_type_of(head: bytes) -> str:
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if is_mp4(head):
        return "video/mp4"
    raise ObjectError(415, "The object is not an image or a video.")


def _version_of(info: Any) -> str:
    """Return a text by which a store tells versions of an object apart, as a hash."""
    names = ("ETag", "etag", "generation", "mtime", "last_modified", "LastModified", "updated")
    known = [str(info[name]) for name in names if info.get(name) is not None]
    return hashlib.sha256("|".join(known).encode(errors="replace")).hexdigest()[:32]


def _is_gone() -> ObjectError:
    return ObjectError(404, "The object is not in the store any more.")


def _has_changed() -> ObjectError:
    return ObjectError(409, "Another object has replaced the one that this task landed.")
