"""The kinds of object stores: how each writes one object in one piece, and which options it takes.

A plain ``write_bytes`` of fsspec stores ``application/octet-stream`` on most of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.blocking import call_blocking
from airflow_provider_flux.object_store.local_file import copy_file, write_file

#: Writes bytes: filesystem, path below it, the bytes, write options, and whether to refuse to
#: replace an object. Returns the id of the version, if the store has versions and reports it.
Write = Callable[[Any, str, bytes, "WriteOptions", bool], Awaitable[str | None]]
#: Uploads a local file: filesystem, path below it, the file, and write options.
Upload = Callable[[Any, str, Path, "WriteOptions"], Awaitable[Any]]
#: Bytes of one part of an upload, which are in memory at a time.
PART_BYTES = 8 * MIB
#: Bytes from which s3fs sends an object in parts by default.
S3_PARTS_FROM_BYTES = 100 * MIB


@dataclass(frozen=True)
class WriteOptions:
    """The options of one write.

    :param content_type: its MIME type.
    :param cache_control: value of its ``Cache-Control`` header.
    :param metadata: user metadata; short ASCII texts. Names have hyphens and no underscores: some
        S3 servers fold an underscore into a hyphen. Azure gets underscores.
    :param options: further options by the store's own names.
    """

    content_type: str
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Backend:
    """One kind of object store.

    :param schemes: schemes of its URIs.
    :param write: writes bytes to it.
    :param upload: uploads a local file to it, part by part.
    :param options: the names that ``store_options`` may have. Encryption keys are not among them,
        since Airflow would store them.
    :param shared: the options that also apply to the small files beside an image: access control
        and encryption.
    :param values: the allowed values of an option that has a few.
    :param kinds: the type of an option that is no text.
    """

    schemes: frozenset[str]
    write: Write
    upload: Upload
    options: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: Mapping[str, type] = field(default_factory=dict)

    def find_problem(self, name: str, value: Any) -> str | None:
        """Return what is wrong with an option, before the store reports it after the submit.

        :param name: name of the option.
        :param value: its value.
        :return: the end of a sentence, for example ``must be a bool``; ``None`` if it is valid.
        """
        kind = self.kinds.get(name, str)
        if not isinstance(value, kind):
            return f"must be a {kind.__name__}"
        if isinstance(value, dict) and not all(isinstance(item, str) for item in value.values()):
            return "must be a dict of texts"
        allowed = self.values.get(name)
        return f"must be one of {', '.join(allowed)}" if allowed and value not in allowed else None


async def _write_to_s3(
    fs: Any, path: str, data: bytes, write_options: WriteOptions, exclusive: bool
) -> str | None:
    """Send one PutObject, with If-None-Match if exclusive; else from 100 MiB on in parts.

    An exclusive write is never sent in parts: Ceph ignores the condition when they are completed.
    """
    options: dict[str, Any] = dict(write_options.options)
    if write_options.cache_control:
        options["CacheControl"] = write_options.cache_control
    if exclusive and len(data) >= S3_PARTS_FROM_BYTES:
        options["chunksize"] = len(data)
    answer = await fsspec_adapter.write_bytes(
        fs,
        path,
        data,
        exclusive=exclusive,
        ContentType=write_options.content_type,
        Metadata=dict(write_options.metadata),
        **options,
    )
    version = answer.get("VersionId") if isinstance(answer, dict) else None
    return version if version != "null" else None  # "null": versioning is suspended


async def _write_to_gcs(
    fs: Any, path: str, data: bytes, write_options: WriteOptions, exclusive: bool
) -> None:
    """Send one upload, with ifGenerationMatch=0 if exclusive; from 50 MiB on a resumable one."""
    properties = dict(write_options.options)
    key_name = properties.pop("kms_key_name", None)
    if write_options.cache_control:
        properties["cache_control"] = write_options.cache_control
    metadata = dict(write_options.metadata)
    options = {"content_type": write_options.content_type, "fixed_key_metadata": properties}
    if key_name is None:
        await fsspec_adapter.write_bytes(
            fs, path, data, exclusive=exclusive, metadata=metadata, **options
        )
    else:
        await fsspec_adapter.write_bytes_with_gcs_key(
            fs,
            path,
            data,
            exclusive=exclusive,
            key_name=key_name,
            metadatain=metadata,
            **options,
        )


async def _write_to_azure(
    fs: Any, path: str, data: bytes, write_options: WriteOptions, exclusive: bool
) -> None:
    """Send one Put Blob, with If-None-Match if exclusive; a large one in blocks, then commit."""
    from azure.storage.blob import ContentSettings, StandardBlobTier

    options = dict(write_options.options)
    if tier := options.pop("standard_blob_tier", None):
        options["standard_blob_tier"] = StandardBlobTier(tier)
    settings = ContentSettings(
        content_type=write_options.content_type,
        cache_control=write_options.cache_control,
        content_disposition=options.pop("content_disposition", None),
    )
    await fsspec_adapter.upload_to_azure(
        fs,
        path,
        data,
        length=len(data),
        overwrite=not exclusive,
        # Azure accepts only names that are identifiers of C#.
        metadata={name.replace("-", "_"): text for name, text in write_options.metadata.items()},
        content_settings=settings,
        **options,
    )


async def _write_local(
    fs: Any, path: str, data: bytes, write_options: WriteOptions, exclusive: bool
) -> None:
    await call_blocking(write_file, path, data, exclusive=exclusive)


async def _write_to_other(
    fs: Any, path: str, data: bytes, write_options: WriteOptions, exclusive: bool
) -> None:
    """Write the bytes alone to any other filesystem of fsspec, which has no exclusive create."""
    if exclusive and await call_blocking(fs.exists, path):
        raise FileExistsError(path)
    await call_blocking(fs.pipe_file, path, data)


async def _upload_to_s3(fs: Any, path: str, file: Path, write_options: WriteOptions) -> None:
    options = {"ContentType": write_options.content_type, **write_options.options}
    await fsspec_adapter.upload_file(fs, path, file, part_bytes=PART_BYTES, **options)


async def _upload_to_gcs(fs: Any, path: str, file: Path, write_options: WriteOptions) -> None:
    """Upload without ``kms_key_name``, which gcsfs does not take: the bucket's key applies."""
    content_type = write_options.content_type
    await fsspec_adapter.upload_file(
        fs, path, file, part_bytes=PART_BYTES, content_type=content_type
    )


async def _upload_to_azure(fs: Any, path: str, file: Path, write_options: WriteOptions) -> None:
    from azure.storage.blob import ContentSettings

    settings = ContentSettings(content_type=write_options.content_type)
    stream = await call_blocking(file.open, "rb")
    with stream:
        await fsspec_adapter.upload_to_azure(
            fs, path, stream, overwrite=True, content_settings=settings, **write_options.options
        )


async def _upload_local(fs: Any, path: str, file: Path, write_options: WriteOptions) -> None:
    await call_blocking(copy_file, file, Path(path))


async def _upload_to_other(fs: Any, path: str, file: Path, write_options: WriteOptions) -> None:
    """Upload to any other filesystem of fsspec."""
    await call_blocking(fs.put_file, str(file), path)


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
        _write_to_s3,
        _upload_to_s3,
        _S3 | _S3_SHARED,
        _S3_SHARED,
        kinds={"BucketKeyEnabled": bool},
    ),
    Backend(
        frozenset({"gs", "gcs"}),
        _write_to_gcs,
        _upload_to_gcs,
        _GS_SHARED | {"content_disposition", "content_language", "custom_time"},
        _GS_SHARED,
    ),
    Backend(
        frozenset({"abfs", "abfss", "adl"}),
        _write_to_azure,
        _upload_to_azure,
        _AZURE_SHARED | {"standard_blob_tier", "content_disposition"},
        _AZURE_SHARED,
        values={"standard_blob_tier": ("Hot", "Cool", "Cold", "Archive")},
        kinds={"tags": dict},
    ),
    Backend(frozenset({"file", "local", ""}), _write_local, _upload_local),
)
OTHER_BACKEND = Backend(frozenset(), _write_to_other, _upload_to_other)


def scheme_of(path: str) -> str:
    """Return the scheme of a URI, or an empty text for a path.

    :param path: URI or path.
    """
    return path.partition("://")[0] if "://" in path else ""


def backend_of(scheme: str) -> Backend:
    """Return the kind of store that a scheme belongs to.

    :param scheme: scheme of a URI, for example ``s3``; empty for a local path.
    """
    return next((backend for backend in BACKENDS if scheme in backend.schemes), OTHER_BACKEND)
