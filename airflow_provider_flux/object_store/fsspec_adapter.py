"""The private names of fsspec, s3fs, gcsfs and adlfs that this package relies on.

Filesystems of fsspec have public methods that block and private coroutines that do the work. The
coroutines alone can be cancelled and leave the event loop free. No other module of this package
uses a private name of these packages, and ``tests/object_store/test_fsspec_adapter.py`` pins their
signatures.

``fs`` is a filesystem of fsspec. ``path`` is a path below it, which includes the bucket.
"""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_provider_flux.object_store.blocking import call_blocking


def store_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all asynchronous filesystems, which runs in a thread of its own."""
    from fsspec.asyn import get_loop  # type: ignore[import-untyped]  # not at DAG parse time

    loop: asyncio.AbstractEventLoop = get_loop()
    return loop


async def call(fs: Any, name: str, *arguments: Any, **options: Any) -> Any:
    """Call a method of a filesystem: its coroutine, or its blocking method in a thread.

    :param fs: the filesystem.
    :param name: public name of the method, for example ``cat_file``.
    :param arguments: positional arguments of the method.
    :param options: keyword arguments of the method.
    """
    method = getattr(fs, f"_{name}", None)
    if inspect.iscoroutinefunction(method):
        return await method(*arguments, **options)
    return await call_blocking(getattr(fs, name), *arguments, **options)


async def ask_for_bucket(fs: Any, bucket: str) -> None:
    """Ask a store for a bucket.

    ``info`` of s3fs before 2025.12 does not find a bucket that is empty.

    :param fs: the filesystem.
    :param bucket: name of the bucket.
    :raises FileNotFoundError: if there is none.
    """
    if hasattr(fs, "_call_s3"):
        await fs._call_s3("head_bucket", Bucket=bucket)
    else:
        await call(fs, "info", bucket)


async def read_bytes(fs: Any, path: str, max_bytes: int | None = None) -> bytes:
    """Read an object in one request.

    Newer versions of s3fs send a HEAD first, to read large objects in pieces. Its answer has no
    body, so a refusal would have no error code.

    :param fs: the filesystem.
    :param path: path of the object.
    :param max_bytes: number of bytes to read at most; ``None`` for all.
    """
    return await read_range(fs, path, None if max_bytes is None else 0, max_bytes)


async def read_range(fs: Any, path: str, start: int | None, end: int | None) -> bytes:
    """Read a part of an object in one request, as :func:`read_bytes` reads a whole one.

    :param fs: the filesystem.
    :param path: path of the object.
    :param start: first byte, from 0; ``None`` for the first one.
    :param end: byte after the last one; ``None`` for all that follow.
    """
    # By name: the second argument of s3fs is the id of a version.
    given = {"start": start, "end": end}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    method = getattr(fs, "_cat_file", None)
    if method is not None and "max_concurrency" in inspect.signature(method).parameters:
        options["max_concurrency"] = 1
    return bytes(await call(fs, "cat_file", path, **options))


async def write_bytes(fs: Any, path: str, data: bytes, *, exclusive: bool, **options: Any) -> Any:
    """Write an object to S3 or GCS in one call.

    :param fs: an ``S3FileSystem`` or ``GCSFileSystem``.
    :param path: path of the object.
    :param data: the whole content.
    :param exclusive: make the store refuse the write if the object exists.
    :param options: further arguments of the filesystem's ``_pipe_file``.
    :return: the answer of the store, if the filesystem returns it.
    """
    mode = "create" if exclusive else "overwrite"
    return await fs._pipe_file(path, data, mode=mode, **options)


async def write_bytes_with_gcs_key(
    fs: Any, path: str, data: bytes, *, exclusive: bool, key_name: str, **options: Any
) -> None:
    """Write an object to GCS, encrypted with a key of Cloud KMS.

    ``_pipe_file`` of gcsfs takes no key, so this calls the function below it.

    :param fs: a ``GCSFileSystem``.
    :param path: path of the object.
    :param data: the whole content.
    :param exclusive: make the store refuse the write if the object exists.
    :param key_name: resource name of the key.
    :param options: further arguments of ``gcsfs.core.simple_upload``.
    """
    from gcsfs.core import simple_upload  # type: ignore[import-untyped]

    bucket, key, _ = fs.split_path(path)
    mode = "create" if exclusive else "overwrite"
    await simple_upload(fs, bucket, key, data, kms_key_name=key_name, mode=mode, **options)
    fs.invalidate_cache(path)


async def upload_file(fs: Any, path: str, file: Path, *, part_bytes: int, **options: Any) -> None:
    """Upload a local file to S3 or GCS in parts.

    :param fs: an ``S3FileSystem`` or ``GCSFileSystem``.
    :param path: path of the object.
    :param file: the local file.
    :param part_bytes: bytes of one part.
    :param options: further arguments of the filesystem's ``_put_file``.
    """
    await fs._put_file(str(file), path, chunksize=part_bytes, **options)


async def upload_to_azure(fs: Any, path: str, data: Any, **options: Any) -> None:
    """Upload a blob with the client of the filesystem: adlfs itself takes no metadata.

    :param fs: an ``AzureBlobFileSystem``.
    :param path: path of the blob.
    :param data: bytes, or an open binary file.
    :param options: further arguments of ``BlobClient.upload_blob``.
    """
    container, blob, _ = fs.split_path(path)
    async with fs.service_client.get_blob_client(container=container, blob=blob) as client:
        await client.upload_blob(data=data, **options)
    fs.invalidate_cache(fs._parent(path))


def renew_s3_client(fs: Any) -> None:
    """Let the next request of an S3 filesystem open a client with its present settings.

    Another part of the process may have used the filesystem before its settings were complete.

    :param fs: an ``S3FileSystem``.
    """
    fs._s3 = None


def is_plain_local(fs: Any) -> bool:
    """Whether a filesystem is fsspec's own one of the local disk, which has no coroutines.

    :param fs: any filesystem.
    """
    from fsspec.implementations.local import (  # type: ignore[import-untyped]  # as above
        LocalFileSystem,
    )

    return type(fs) is LocalFileSystem


def is_s3(fs: Any) -> bool:
    """Whether a filesystem is an ``S3FileSystem``.

    :param fs: any filesystem.
    """
    return "s3" in fs.protocol


def s3_endpoint(fs: Any) -> str | None:
    """Return the URL to which an S3 filesystem sends its requests; ``None`` before the first one.

    :param fs: an ``S3FileSystem``.
    """
    return None if fs._s3 is None else str(fs._s3.meta.endpoint_url)


async def find_s3_version_below(fs: Any, path: str, version: str) -> str | None:
    """Return the id of the version of an object that is directly below another one.

    :param fs: an ``S3FileSystem``.
    :param path: path of the object.
    :param version: id of the other version.
    :return: ``None`` if there is none, or if the object was removed in between.
    :raises LookupError: if the answer of the store does not make sense.
    """
    bucket, key, _ = fs.split_path(path)
    names = {"Bucket": bucket, "Prefix": key}
    answer = await fs._call_s3("list_object_versions", **names)
    ids = _versions_of(answer, key)
    if version not in ids:
        raise LookupError(f"no version {version}")
    below = ids[ids.index(version) + 1 :]
    if any(item["Key"] == key for item in answer.get("DeleteMarkers", [])):
        # boto lists removals apart from versions. Only the entry behind a marker shows their order.
        marker = {"KeyMarker": key, "VersionIdMarker": version, "MaxKeys": 1}
        below = _versions_of(await fs._call_s3("list_object_versions", **names, **marker), key)
        if version in below:
            raise LookupError(f"version {version} is below itself")
    return below[0] if below else None


def _versions_of(answer: Any, key: str) -> list[str]:
    return [item["VersionId"] for item in answer.get("Versions", []) if item["Key"] == key]


async def read_s3_version(fs: Any, path: str, version: str) -> bytes:
    """Read a version of an object.

    :param fs: an ``S3FileSystem``.
    :param path: path of the object.
    :param version: id of the version.
    """
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, VersionId=version)
    async with answer["Body"] as body:
        return bytes(await body.read())


async def remove_s3_version(fs: Any, path: str, version: str) -> None:
    """Remove a version of an object; the one below it becomes the object again.

    :param fs: an ``S3FileSystem``.
    :param path: path of the object.
    :param version: id of the version.
    """
    bucket, key, _ = fs.split_path(path)
    await fs._call_s3("delete_object", Bucket=bucket, Key=key, VersionId=version)
    fs.invalidate_cache(path)


async def call_s3(fs: Any, method: str, path: str, **options: Any) -> Any:
    """Call an operation of S3 on an object, with the settings and retries of the filesystem.

    :param fs: an ``S3FileSystem``.
    :param method: name of the operation at a client of botocore, for example ``put_object``.
    :param path: path of the object.
    :param options: further parameters of the operation.
    """
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3(method, Bucket=bucket, Key=key, **options)
    if method.startswith("put"):
        fs.invalidate_cache(path)
    return answer


async def call_gcs(fs: Any, method: str, path: str, **options: Any) -> bytes:
    """Send a request about an object to the JSON API of GCS.

    :param fs: a ``GCSFileSystem``.
    :param method: ``GET`` for the object, ``POST`` to upload it.
    :param path: path of the object.
    :param options: ``data`` and ``headers`` of the request, and the parameters of its query.
    :return: the body of the answer.
    """
    bucket, key, _ = fs.split_path(path)
    if method == "GET":
        _, content = await fs._call("GET", "b/{}/o/{}", bucket, key, **options)
    else:
        url = f"{fs._location}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
        _, content = await fs._call(method, url, **options)
        fs.invalidate_cache(fs._parent(path))
    return bytes(content)


def open_azure_blob(fs: Any, path: str) -> Any:
    """Return the client of a blob, which is an asynchronous context manager.

    :param fs: an ``AzureBlobFileSystem``.
    :param path: path of the blob.
    """
    container, blob, _ = fs.split_path(path)
    return fs.service_client.get_blob_client(container=container, blob=blob)
