"""One atomic put: what lies at the target is the whole object, or what was there before.

``path.open("wb")`` publishes a truncated object when its block raises, so the bytes are complete in
memory before a single write.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxStorageError
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.object_store.backends import WriteOptions, backend_of
from airflow_provider_flux.object_store.errors import (
    is_conflict,
    is_forbidden,
    is_transient,
    is_unsupported,
)
from airflow_provider_flux.object_store.filesystem import reopen_path

log = logging.getLogger(__name__)

#: Seconds for which a store that does not answer is tried again; what is in memory is paid for.
_PATIENCE = 45.0


async def put(
    uri: str, data: bytes, manner: WriteOptions, *, exclusive: bool = False, look: bool = True
) -> None:
    """Write ``data`` in one piece. To be run by :mod:`~airflow_provider_flux.object_store.filesystem`, on the loop of the stores.

    The store must have been opened once with :func:`~airflow_provider_flux.object_store.filesystem.open_path`; its
    connection is not read again.

    :param exclusive: refuse to replace an object, unless it holds the very same bytes: then it was
        written by us, and the store's answer was lost.
    :param look: whether to ask for an object first, where there must be none; a caller may have done so just now.
    :raises FluxExistsError: if there is another object, which is untouched.
    :raises FluxStorageError: if it could not be written; the old object, or none, is there then.
    """
    try:
        await retry_transient()(_put_once, reopen_path(uri), data, manner, exclusive, look)
    except FluxExistsError:
        raise
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be written ({describe_error(error)}).") from None


async def read(uri: str, *, patient: bool = False) -> bytes | None:
    """Return the bytes of an object; ``None`` if there is none. To be run on the loop of the stores.

    A role that may not list a bucket is told "forbidden" of what is not there.

    :param patient: try again what may pass, as :func:`put` does.
    :raises FluxStorageError: if it cannot be told.
    """
    path = reopen_path(uri)
    try:
        if patient:
            return bytes(await retry_transient()(_call, path.fs, "cat_file", path.path))
        return bytes(await _call(path.fs, "cat_file", path.path))
    except FileNotFoundError:
        return None
    except Exception as error:
        if is_forbidden(error):
            log.warning("%s may not be read, or is not there: taken as not there", uri)
            return None
        raise FluxStorageError(f"{uri} could not be read ({describe_error(error)}).") from None


async def exists(uri: str) -> bool | None:
    """Whether there is an object; ``None`` if that may not be asked. Listings that are remembered do not count."""
    try:
        path = reopen_path(uri)
        path.fs.invalidate_cache()
        await _call(path.fs, "info", path.path)
    except FileNotFoundError:
        return False
    except Exception:
        return None
    return True


async def list_uris(uri: str) -> list[str]:
    """Return the URIs of all objects in a folder and below it. To be run on the loop of the stores.

    :raises FluxStorageError: if they cannot be listed.
    """
    path = reopen_path(uri)
    try:
        path.fs.invalidate_cache()
        found = await _call(path.fs, "find", path.path)
    except FileNotFoundError:
        return []
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be listed ({describe_error(error)}).") from None
    start = uri[: uri.rindex(path.path.rstrip("/"))]
    return [f"{start}{name}" for name in found]


def retry_transient() -> AsyncRetrying:
    """Return what tries again, for a while, what a store that is down or busy has refused."""
    return AsyncRetrying(
        stop=stop_after_delay(_PATIENCE),
        wait=wait_random_exponential(multiplier=0.5, max=8),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )


async def _put_once(
    path: ObjectStoragePath, data: bytes, manner: WriteOptions, exclusive: bool, look: bool
) -> None:
    # Asked beforehand too: not every store knows an exclusive create, and some overwrite in silence.
    if exclusive and look and await exists(str(path)):
        await _accept_own(path, data)
        return
    try:
        await backend_of(path.protocol).write(path.fs, path.path, data, manner, exclusive)
    except Exception as error:
        if exclusive and is_unsupported(error):
            log.warning(
                "%s: the store does not know an exclusive create; nothing was there a moment ago",
                path,
            )
            await backend_of(path.protocol).write(path.fs, path.path, data, manner, False)
        elif exclusive and is_conflict(error):
            await _accept_own(path, data, refusal=error)
        else:
            raise


async def _accept_own(
    path: ObjectStoragePath, data: bytes, refusal: Exception | None = None
) -> None:
    """Take an object with the very same bytes for our own: the store's answer was lost."""
    there = await read(str(path))
    if there is None and refusal is not None and await exists(str(path)) is False:
        raise refusal
    if there is None or hashlib.sha256(there).digest() != hashlib.sha256(data).digest():
        raise FluxExistsError(f"There is an object at {path} already; it is untouched.")


async def _call(fs: Any, name: str, *arguments: Any) -> Any:
    """Call a method of a filesystem: its coroutine, or in a thread where it has none."""
    method = getattr(fs, f"_{name}", None)
    if inspect.iscoroutinefunction(method):
        return await method(*arguments)
    return await asyncio.to_thread(getattr(fs, name), *arguments)


def describe_error(error: Exception) -> str:
    """Return what a store has said, on one line and without secrets."""
    return f"{type(error).__name__}: {redact(' '.join(str(error).split()))[:300]}"
