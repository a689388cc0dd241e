"""How each kind of store is told to write one object in one piece: its words for the same few things.

A plain ``write_bytes`` stores ``application/octet-stream`` on most of them.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: A write: filesystem, path below it, bytes, how to store them, and whether there must be nothing yet.
Write = Callable[[Any, str, bytes, "WriteOptions", bool], Awaitable[Any]]


@dataclass(frozen=True)
class WriteOptions:
    """How an object is stored.

    :param content_type: its MIME type.
    :param cache_control: value of its ``Cache-Control`` header.
    :param metadata: user metadata; short ASCII texts.
    :param options: further options by the store's own names.
    """

    content_type: str
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Backend:
    """One kind of store.

    :param options: the names that ``store_options`` may have; keys that encrypt are not among them,
        since Airflow would store them.
    :param shared: those that count for the small files beside an image too: who may read it, and how it is encrypted.
    :param values: what an option may be, where it is one of a few texts.
    :param kinds: the type of an option that is no text.
    """

    schemes: frozenset[str]
    write: Write
    options: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: Mapping[str, type] = field(default_factory=dict)

    def find_fault(self, name: str, value: Any) -> str | None:
        """Return what is wrong with an option: the store would say it after the image is paid for."""
        kind = self.kinds.get(name, str)
        if not isinstance(value, kind):
            return f"must be a {kind.__name__}"
        if isinstance(value, dict) and not all(isinstance(one, str) for one in value.values()):
            return "must be a dict of texts"
        allowed = self.values.get(name)
        return f"must be one of {', '.join(allowed)}" if allowed and value not in allowed else None


async def _write_s3(fs: Any, path: str, data: bytes, manner: WriteOptions, exclusive: bool) -> None:
    """One PutObject, with If-None-Match for an exclusive one; above 100 MiB an upload in parts."""
    cached = {"CacheControl": manner.cache_control} if manner.cache_control else {}
    await fs._pipe_file(
        path,
        data,
        mode="create" if exclusive else "overwrite",
        ContentType=manner.content_type,
        Metadata=dict(manner.metadata),
        **cached,
        **manner.options,
    )


async def _write_gs(fs: Any, path: str, data: bytes, manner: WriteOptions, exclusive: bool) -> None:
    """One upload, with ifGenerationMatch=0 for an exclusive one; from 50 MiB on a resumable one."""
    options = dict(manner.options)
    key_name = options.pop("kms_key_name", None)
    described = {
        "metadata": dict(manner.metadata),
        "content_type": manner.content_type,
        "fixed_key_metadata": {"cache_control": manner.cache_control, **options}
        if manner.cache_control
        else options,
        "mode": "create" if exclusive else "overwrite",
    }
    if key_name is None:
        await fs._pipe_file(path, data, **described)
        return
    from gcsfs.core import simple_upload  # type: ignore[import-untyped]  # _pipe_file takes no key

    described["metadatain"] = described.pop("metadata")
    bucket, key, _ = fs.split_path(path)
    await simple_upload(fs, bucket, key, data, kms_key_name=key_name, **described)
    fs.invalidate_cache(path)


async def _write_azure(
    fs: Any, path: str, data: bytes, manner: WriteOptions, exclusive: bool
) -> None:
    """One Put Blob, with If-None-Match for an exclusive one; larger ones in blocks, committed at the end.

    Through the client of the filesystem, whose own ``pipe_file`` takes no metadata.
    """
    from azure.storage.blob import ContentSettings, StandardBlobTier

    options = dict(manner.options)
    if tier := options.pop("standard_blob_tier", None):
        options["standard_blob_tier"] = StandardBlobTier(tier)
    settings = ContentSettings(
        content_type=manner.content_type,
        cache_control=manner.cache_control,
        content_disposition=options.pop("content_disposition", None),
    )
    container, blob, _ = fs.split_path(path)
    async with fs.service_client.get_blob_client(container=container, blob=blob) as client:
        await client.upload_blob(
            data=data,
            length=len(data),
            overwrite=not exclusive,
            metadata=dict(manner.metadata),
            content_settings=settings,
            **options,
        )
    fs.invalidate_cache(fs._parent(path))


async def _write_file(
    fs: Any, path: str, data: bytes, manner: WriteOptions, exclusive: bool
) -> None:
    await asyncio.to_thread(write_file, Path(path), data, exclusive=exclusive)


async def _write_other(
    fs: Any, path: str, data: bytes, manner: WriteOptions, exclusive: bool
) -> None:
    """Any other filesystem of fsspec: no more than bytes, and no exclusive create of its own."""
    if exclusive and await asyncio.to_thread(fs.exists, path):
        raise FileExistsError(path)
    await asyncio.to_thread(fs.pipe_file, path, data)


def write_file(target: Path, data: bytes, *, exclusive: bool = False) -> None:
    """Write a local file: as a hidden one beside it first, then under its name in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            _link(temporary, target)
        else:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, target: Path) -> None:
    """Give the file its name unless it is taken; a rename would replace what is there."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # a filesystem without hard links: a moment is left in which another may write
        if target.exists():
            raise FileExistsError(str(target)) from None
        temporary.replace(target)


_S3_SHARED = frozenset(
    {
        "ServerSideEncryption",
        "SSEKMSKeyId",
        "SSEKMSEncryptionContext",
        "BucketKeyEnabled",
        "ACL",
        "ExpectedBucketOwner",
        "RequestPayer",
        "Tagging",
    }
)
_S3 = frozenset(
    {
        "StorageClass",
        "ContentDisposition",
        "ContentLanguage",
        "Expires",
        "ChecksumAlgorithm",
        "ObjectLockMode",
        "ObjectLockRetainUntilDate",
        "ObjectLockLegalHoldStatus",
    }
)
_GS_SHARED = frozenset({"kms_key_name"})
_AZURE_SHARED = frozenset({"encryption_scope", "tags"})

BACKENDS: tuple[Backend, ...] = (
    Backend(
        frozenset({"s3", "s3a", "s3n"}),
        _write_s3,
        _S3 | _S3_SHARED,
        _S3_SHARED,
        kinds={"BucketKeyEnabled": bool},
    ),
    Backend(
        frozenset({"gs", "gcs"}),
        _write_gs,
        _GS_SHARED | {"content_disposition", "content_language", "custom_time"},
        _GS_SHARED,
    ),
    Backend(
        frozenset({"abfs", "abfss", "adl"}),
        _write_azure,
        _AZURE_SHARED | {"standard_blob_tier", "content_disposition"},
        _AZURE_SHARED,
        values={"standard_blob_tier": ("Hot", "Cool", "Cold", "Archive")},
        kinds={"tags": dict},
    ),
    Backend(frozenset({"file", "local", ""}), _write_file),
)
OTHER_BACKEND = Backend(frozenset(), _write_other)


def scheme_of(path: str) -> str:
    """Return the scheme of a URI; empty for a path alone."""
    return path.partition("://")[0] if "://" in path else ""


def backend_of(scheme: str) -> Backend:
    """Return how a store is spoken to, by the scheme of its URIs."""
    return next((dialect for dialect in BACKENDS if scheme in dialect.schemes), OTHER_BACKEND)
