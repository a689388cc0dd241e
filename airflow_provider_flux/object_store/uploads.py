"""Upload large local files: read a part at a time, visible under their name in one step."""

from __future__ import annotations

import asyncio
from pathlib import Path

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store.backends import PART_BYTES, WriteOptions, backend_of
from airflow_provider_flux.object_store.errors import describe_error
from airflow_provider_flux.object_store.filesystem import reopen_path
from airflow_provider_flux.object_store.objects import put, retry_transient


async def put_file(uri: str, file: Path, write_options: WriteOptions) -> None:
    """Upload a local file, and replace what is there.

    Runs on the event loop of the stores:
    see :mod:`~airflow_provider_flux.object_store.filesystem`.

    :param uri: URI of the object.
    :param file: the local file.
    :param write_options: how to store it.
    :raises FluxStorageError: if the object could not be written. The old one, if any, is unchanged.
    """
    if (await asyncio.to_thread(file.stat)).st_size <= PART_BYTES:
        await put(uri, await asyncio.to_thread(file.read_bytes), write_options)
        return
    path = reopen_path(uri)
    upload = backend_of(path.protocol).upload
    try:
        await retry_transient()(upload, path.fs, path.path, file, write_options)
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be written ({describe_error(error)}).") from None
