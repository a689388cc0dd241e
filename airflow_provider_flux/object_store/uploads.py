"""Large files into an object store: read from disk a piece at a time, and there under their name in one step."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path
from typing import Any

from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import reopen_path
from airflow_provider_flux.object_store.objects import describe_error, put, retry_transient

#: A file up to this size is written as images are.
_LARGE = 8 * MIB
#: What is in memory of a larger one, for each of a few uploads in parallel.
_PIECE = 8 * MIB


async def put_file(uri: str, file: Path, manner: WriteOptions) -> None:
    """Write a local file; what was there is replaced. To be run by :mod:`~airflow_provider_flux.object_store.filesystem`.

    :raises FluxStorageError: if it could not be written; the old object, or none, is there then.
    """
    if (await asyncio.to_thread(file.stat)).st_size <= _LARGE:
        await put(uri, await asyncio.to_thread(file.read_bytes), manner)
        return
    path = reopen_path(uri)
    upload = _UPLOADS.get(path.protocol, _upload_local)
    try:
        await retry_transient()(upload, path.fs, path.path, file, manner)
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be written ({describe_error(error)}).") from None


async def _upload_s3(fs: Any, path: str, file: Path, manner: WriteOptions) -> None:
    await fs._put_file(
        str(file), path, chunksize=_PIECE, ContentType=manner.content_type, **manner.options
    )


async def _upload_gs(fs: Any, path: str, file: Path, manner: WriteOptions) -> None:
    """Without ``kms_key_name``, which this call does not take: the default key of the bucket counts."""
    await fs._put_file(str(file), path, chunksize=_PIECE, content_type=manner.content_type)


async def _upload_azure(fs: Any, path: str, file: Path, manner: WriteOptions) -> None:
    from azure.storage.blob import ContentSettings

    container, blob, _ = fs.split_path(path)
    settings = ContentSettings(content_type=manner.content_type)
    stream = await asyncio.to_thread(file.open, "rb")
    with stream:
        async with fs.service_client.get_blob_client(container=container, blob=blob) as client:
            await client.upload_blob(
                data=stream, overwrite=True, content_settings=settings, **manner.options
            )
    fs.invalidate_cache(fs._parent(path))


async def _upload_local(fs: Any, path: str, file: Path, manner: WriteOptions) -> None:
    await asyncio.to_thread(_copy, file, Path(path))


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        shutil.copyfile(file, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


_UPLOADS = {
    **dict.fromkeys(("s3", "s3a", "s3n"), _upload_s3),
    **dict.fromkeys(("gs", "gcs"), _upload_gs),
    **dict.fromkeys(("abfs", "abfss", "adl"), _upload_azure),
}
