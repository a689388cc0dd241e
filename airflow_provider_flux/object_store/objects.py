"""Write, read, list and remove objects.

Every write is atomic: the object is the whole new one, or the old one. ``path.open("wb")``
publishes a truncated object when its block raises, so all bytes are in memory before one write.

The coroutines run on the event loop of the stores:
see :mod:`~airflow_provider_flux.object_store.filesystem`.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxStorageError
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.backends import WriteOptions, backend_of
from airflow_provider_flux.object_store.blocking import pause
from airflow_provider_flux.object_store.errors import (
    describe_error,
    is_conflict,
    is_transient,
    is_unsupported,
    is_withheld,
)
from airflow_provider_flux.object_store.exclusive import (
    confirm_created,
    confirm_plain_write,
    refuse_existing,
)
from airflow_provider_flux.object_store.filesystem import StorePath, reopen_path

log = logging.getLogger(__name__)

#: Seconds for which a request is retried. BFL billed the image that is written.
_RETRY_SECONDS = 45.0
#: Longest pause before the second attempt.
_FIRST_PAUSE_SECONDS = 0.5
#: Exclusive writes that a store may refuse for an object that is gone when it is read.
_MAX_REFUSALS = 4
_T = TypeVar("_T")
_P = ParamSpec("_P")


async def put(
    uri: str,
    data: bytes,
    write_options: WriteOptions,
    *,
    exclusive: bool = False,
    check_first: bool = True,
) -> None:
    """Write an object in one request.

    The store must have been opened with
    :func:`~airflow_provider_flux.object_store.filesystem.open_path`; its connection is not read
    again.

    :param uri: URI of the object.
    :param data: its whole content.
    :param write_options: how to store it.
    :param exclusive: refuse to replace an object, unless it has the very same bytes: then an
        earlier attempt wrote it, and the store's answer was lost.
    :param check_first: look for an object before an exclusive write, for stores that ignore the
        condition. A caller that has just looked passes ``False``.
    :raises FluxExistsError: if there is another object, which is unchanged.
    :raises FluxStorageError: if the object could not be written. The old one, if any, is unchanged.
    """
    try:
        path = reopen_path(uri)
        await _retry(_put_once, path, data, write_options, exclusive, check_first)
    except FluxExistsError:
        raise
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be written ({describe_error(error)}).") from None


async def read(uri: str, *, retry: bool = False, max_bytes: int | None = None) -> bytes | None:
    """Read an object.

    A 403 counts as "no such object", with a warning: S3 answers so for a missing object if the role
    may not list the bucket.

    :param uri: URI of the object.
    :param retry: retry transient errors as :func:`put` does.
    :param max_bytes: size from which on the object is refused, and not read further; ``None`` for
        no limit. Whoever may write to the bucket chooses the size.
    :return: its bytes; ``None`` if it does not exist.
    :raises FluxStorageError: if the store cannot answer, or if the object is too large.
    """
    data = await _read(uri, retry, None if max_bytes is None else max_bytes + 1)
    if data is not None and max_bytes is not None and len(data) > max_bytes:
        raise FluxStorageError(f"{uri} has more than {max_bytes} bytes, and is not read further.")
    return data


async def read_hint(uri: str, max_bytes: int) -> bytes | None:
    """Read an object that nothing depends on: one that is too large counts as missing.

    :param uri: URI of the object.
    :param max_bytes: size from which on it is not read further.
    :return: its bytes; ``None`` if it does not exist, or is too large.
    :raises FluxStorageError: if the store cannot answer.
    """
    data = await _read(uri, False, max_bytes + 1)
    if data is None or len(data) <= max_bytes:
        return data
    log.warning("%s has more than %d bytes. It is treated as missing.", uri, max_bytes)
    return None


async def read_start(uri: str, max_bytes: int, *, retry: bool = False) -> bytes | None:
    """Read the first bytes of an object, however large it is.

    :param uri: URI of the object.
    :param max_bytes: number of bytes to read at most.
    :param retry: whether transient errors are retried.
    :return: the bytes; ``None`` if it does not exist.
    :raises FluxStorageError: if the store cannot answer.
    """
    return await _read(uri, retry, max_bytes)


async def _read(uri: str, retry: bool, limit: int | None) -> bytes | None:
    path = reopen_path(uri)
    try:
        if retry:
            data = await _retry(fsspec_adapter.read_bytes, path.fs, path.path, limit)
        else:
            data = await fsspec_adapter.read_bytes(path.fs, path.path, limit)
    except FileNotFoundError:
        return None
    except Exception as error:
        if limit is not None and await _is_empty(path):  # it has no range to read
            return b""
        if is_withheld(error):
            log.warning("The store forbids reading %s. It is treated as missing.", uri)
            return None
        raise FluxStorageError(f"{uri} could not be read ({describe_error(error)}).") from None
    return data


async def exists(uri: str) -> bool | None:
    """Whether an object exists; cached listings do not count.

    :param uri: URI of the object.
    :return: ``None`` if the store does not answer.
    """
    try:
        path = reopen_path(uri)
        path.fs.invalidate_cache()
        await fsspec_adapter.call(path.fs, "info", path.path)
    except FileNotFoundError:
        return False
    except Exception:
        return None
    return True


async def remove(uri: str) -> None:
    """Remove an object; nothing happens if there is none.

    :param uri: URI of the object.
    :raises FluxStorageError: if the store does not remove it.
    """
    path = reopen_path(uri)
    try:
        await fsspec_adapter.call(path.fs, "rm_file", path.path)
        path.fs.invalidate_cache()
    except FileNotFoundError:
        return
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be removed ({describe_error(error)}).") from None


async def _is_empty(path: StorePath) -> bool:
    """Whether an object exists and has no bytes."""
    try:
        return bool((await fsspec_adapter.call(path.fs, "info", path.path)).get("size") == 0)
    except Exception:
        return False


async def list_uris(uri: str) -> list[str]:
    """List all objects in a folder and its subfolders.

    :param uri: URI of the folder.
    :return: the URIs of the objects; empty if there is no folder.
    :raises FluxStorageError: if they cannot be listed.
    """
    path = reopen_path(uri)
    try:
        path.fs.invalidate_cache()
        names = await fsspec_adapter.call(path.fs, "find", path.path)
    except FileNotFoundError:
        return []
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be listed ({describe_error(error)}).") from None
    prefix = uri[: uri.rindex(path.path.rstrip("/"))]
    return [f"{prefix}{name}" for name in names]


def retry_transient() -> AsyncRetrying:
    """Return a retry policy for transient errors, with growing pauses for 45 seconds."""
    return AsyncRetrying(
        stop=stop_after_delay(_RETRY_SECONDS),
        wait=wait_random_exponential(multiplier=0.5, max=8),
        retry=retry_if_exception(is_transient),
        sleep=pause,
        reraise=True,
    )


async def _retry(
    function: Callable[_P, Coroutine[Any, Any, _T]], *arguments: _P.args, **options: _P.kwargs
) -> _T:
    """Call a function, and retry transient errors. The policy is built for a failure only."""
    try:
        return await function(*arguments, **options)
    except Exception as error:
        if not is_transient(error):
            raise
    await pause(random.uniform(0.0, _FIRST_PAUSE_SECONDS))  # noqa: S311  no secret
    return await retry_transient()(function, *arguments, **options)


async def _put_once(
    path: StorePath,
    data: bytes,
    write_options: WriteOptions,
    exclusive: bool,
    check_first: bool,
) -> None:
    if exclusive and check_first and await exists(str(path)) and await _is_stored(path, data):
        return
    write = backend_of(path.protocol).write
    send = partial(write, path.fs, path.path, data, write_options)
    for _ in range(_MAX_REFUSALS):
        try:
            version = await send(exclusive)
        except Exception as error:
            if not (exclusive and (is_unsupported(error) or is_conflict(error))):
                raise
            refusal = error
        else:
            if exclusive:
                await confirm_created(path, data, version, repeat=partial(send, True))
            return
        if is_unsupported(refusal):
            await send(False)
            await confirm_plain_write(path, data)
            return
        if await _is_stored(path, data):
            return
    raise refusal


async def _is_stored(path: StorePath, data: bytes) -> bool:
    """Whether an earlier attempt stored the very same bytes.

    :return: ``False`` if the object that was in the way is gone: its owner has removed it.
    :raises FluxExistsError: if the object has other bytes.
    :raises FluxStorageError: if the store does not answer.
    """
    stored = await _read(str(path), True, len(data) + 1)
    if stored is None and await exists(str(path)) is False:
        return False
    if stored is None:
        raise FluxExistsError(
            f"There is an object at {path} already, which the credentials may not read. It is "
            "untouched."
        )
    if hashlib.sha256(stored).digest() != hashlib.sha256(data).digest():
        raise refuse_existing(path)
    return True
