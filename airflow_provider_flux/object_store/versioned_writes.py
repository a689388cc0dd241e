"""Read an object with its version, and write it under a condition, by the way of each store.

- S3: ETag, ``If-Match`` and ``If-None-Match`` of PutObject (source: S3's conditional writes).
- GCS: generation, ``ifGenerationMatch`` (source: GCS's request preconditions).
- Azure: ETag, ``If-Match`` and ``If-None-Match`` of Put Blob (source: Azure's conditional headers).
- Local disk: a lock file, and the hash of the content.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.local_versions import (
    LockBusyError,
    read_local,
    replace_local,
)


@dataclass(frozen=True)
class StoredVersion:
    """An object as it was read.

    :param data: its bytes.
    :param version: its version. Only its store can tell what it means.
    """

    data: bytes
    version: str


#: Reads an object: filesystem, path below it, bytes to read at most. ``None`` without an object.
ReadVersion = Callable[[Any, str, int], Awaitable[StoredVersion | None]]
#: Writes an object: filesystem, path below it, the bytes, the version that it must have (``None``:
#: there must be none), write options. Returns the new version.
WriteVersion = Callable[[Any, str, bytes, str | None, WriteOptions], Awaitable[str]]

_NO_SUCH_RANGE = 416
#: The caller retries. The client of Azure would wait for 15 seconds before its own first retry.
_NO_RETRIES = {"retry_total": 0}
#: Seconds between two attempts to lock a local file. Its holder needs some milliseconds.
_LOCK_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class ConditionalStore:
    """A kind of store that can compare and swap an object.

    :param schemes: schemes of its URIs.
    :param read: reads an object with its version.
    :param write: writes it under a condition.
    :param unused_version: a version that no object has.
    """

    schemes: frozenset[str]
    read: ReadVersion
    write: WriteVersion
    unused_version: str


async def _read_from_s3(fs: Any, path: str, max_bytes: int) -> StoredVersion | None:
    try:
        answer = await fsspec_adapter.call_s3(fs, "get_object", path)
    except FileNotFoundError:
        return None
    async with answer["Body"] as body:
        data = bytes(await body.read(max_bytes))
    return StoredVersion(data, str(answer["ETag"]))


async def _write_to_s3(
    fs: Any, path: str, data: bytes, version: str | None, write_options: WriteOptions
) -> str:
    options: dict[str, Any] = dict(write_options.options)
    if write_options.cache_control:
        options["CacheControl"] = write_options.cache_control
    condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
    answer = await fsspec_adapter.call_s3(
        fs,
        "put_object",
        path,
        Body=data,
        ContentType=write_options.content_type,
        Metadata=dict(write_options.metadata),
        **condition,
        **options,
    )
    return str(answer["ETag"])


async def _read_from_gcs(fs: Any, path: str, max_bytes: int) -> StoredVersion | None:
    """Read the generation, then the bytes of that generation: gcsfs hides headers of a download."""
    while True:
        try:
            facts = json.loads(await fsspec_adapter.call_gcs(fs, "GET", path))
        except FileNotFoundError:
            return None
        generation = str(facts["generation"])
        if int(facts.get("size", 0)) == 0:
            return StoredVersion(b"", generation)
        try:
            data = await fsspec_adapter.call_gcs(
                fs,
                "GET",
                path,
                headers={"Range": f"bytes=0-{max_bytes - 1}"},
                alt="media",
                generation=generation,
            )
        except FileNotFoundError:  # somebody replaced it in between
            continue
        return StoredVersion(data, generation)


async def _write_to_gcs(
    fs: Any, path: str, data: bytes, version: str | None, write_options: WriteOptions
) -> str:
    properties: dict[str, Any] = {
        "name": fs.split_path(path)[1],
        "contentType": write_options.content_type,
        "metadata": dict(write_options.metadata),
    }
    if write_options.cache_control:
        properties["cacheControl"] = write_options.cache_control
    query = {"uploadType": "multipart", "ifGenerationMatch": version or "0"}
    if key_name := write_options.options.get("kms_key_name"):
        query["kmsKeyName"] = key_name
    boundary = uuid4().hex
    body = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
        f"{json.dumps(properties)}\r\n--{boundary}\r\n"
        f"Content-Type: {write_options.content_type}\r\n\r\n"
    ).encode()
    answer = await fsspec_adapter.call_gcs(
        fs,
        "POST",
        path,
        headers={"Content-Type": f'multipart/related; boundary="{boundary}"'},
        data=body + data + f"\r\n--{boundary}--".encode(),
        **query,
    )
    return str(json.loads(answer)["generation"])


async def _read_from_azure(fs: Any, path: str, max_bytes: int) -> StoredVersion | None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    async with fsspec_adapter.open_azure_blob(fs, path) as blob:
        try:
            download = await blob.download_blob(offset=0, length=max_bytes, **_NO_RETRIES)
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            if error.status_code != _NO_SUCH_RANGE:
                raise
            # It is empty, and has no range to read.
            return StoredVersion(b"", str((await blob.get_blob_properties()).etag))
        return StoredVersion(bytes(await download.readall()), str(download.properties.etag))


async def _write_to_azure(
    fs: Any, path: str, data: bytes, version: str | None, write_options: WriteOptions
) -> str:
    from azure.core import MatchConditions
    from azure.storage.blob import ContentSettings

    condition: dict[str, Any] = (
        {"overwrite": False}
        if version is None
        else {"overwrite": True, "etag": version, "match_condition": MatchConditions.IfNotModified}
    )
    settings = ContentSettings(
        content_type=write_options.content_type, cache_control=write_options.cache_control
    )
    async with fsspec_adapter.open_azure_blob(fs, path) as blob:
        answer = await blob.upload_blob(
            data=data,
            length=len(data),
            content_settings=settings,
            metadata={
                name.replace("-", "_"): text for name, text in write_options.metadata.items()
            },
            **condition,
            **write_options.options,
            **_NO_RETRIES,
        )
    return str(answer["etag"])


async def _read_local(fs: Any, path: str, max_bytes: int) -> StoredVersion | None:
    found = await asyncio.to_thread(read_local, Path(path), max_bytes)
    return None if found is None else StoredVersion(*found)


async def _write_local(
    fs: Any, path: str, data: bytes, version: str | None, write_options: WriteOptions
) -> str:
    """Try for the lock without holding a thread of the pool, which all writes of images share."""
    while True:
        try:
            return await asyncio.to_thread(replace_local, Path(path), data, version)
        except LockBusyError:
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)


CONDITIONAL_STORES = (
    ConditionalStore(frozenset({"s3", "s3a", "s3n"}), _read_from_s3, _write_to_s3, f'"{"0" * 32}"'),
    ConditionalStore(frozenset({"gs", "gcs"}), _read_from_gcs, _write_to_gcs, "1"),
    ConditionalStore(
        frozenset({"abfs", "abfss", "adl"}), _read_from_azure, _write_to_azure, '"0x1"'
    ),
    ConditionalStore(frozenset({"file", "local", ""}), _read_local, _write_local, "none"),
)
