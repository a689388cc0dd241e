"""List objects with their versions, so that a reader knows which of them have changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.errors import describe_error
from airflow_provider_flux.object_store.filesystem import open_path, run_sync

#: Members of the details of an object that change with its content, by store. S3 has ``ETag``, GCS
#: ``generation`` and ``etag``, Azure ``etag``.
_VERSION_MEMBERS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified")
_LOCAL = frozenset({"", "file", "local"})


@dataclass(frozen=True)
class ListedObject:
    """An object of a listing.

    :param uri: its URI.
    :param version: a text that differs after a change of the object; empty if the store does not
        report a version.
    :param size: its size in bytes; ``None`` if it is not known.
    :param local_path: its path on this machine; ``None`` if it is in an object store.
    """

    uri: str
    version: str
    size: int | None = None
    local_path: str | None = None


def list_versions(folder: str, *, field: str = "prefix") -> Iterator[ListedObject]:
    """Yield all objects in a folder and its subfolders. Do not call it on an event loop.

    A local folder is walked object by object, and links to folders are not followed. An object
    whose name is not UTF-8 has a URI with lone surrogates.

    :param folder: URI of the folder, or a local path.
    :param field: name of the argument, for the error message; ``prefix`` by default.
    :raises FluxConfigurationError: if the store cannot be used.
    :raises FluxStorageError: if the folder cannot be listed.
    """
    uri = f"{folder.rstrip('/')}/"
    path = open_path(uri, field=field)
    if path.protocol in _LOCAL:
        yield from _walk(path.path.rstrip("/") or "/", uri)
        return
    try:
        path.fs.invalidate_cache()
        details = run_sync(fsspec_adapter.call(path.fs, "find", path.path, detail=True))
        path.fs.invalidate_cache()  # a listing of thousands of objects would stay in memory
    except FileNotFoundError:
        return
    except Exception as error:
        raise FluxStorageError(f"{uri} could not be listed ({describe_error(error)}).") from None
    root = path.path.rstrip("/")
    prefix = uri[: uri.rindex(root)]
    while details:
        name, info = details.popitem()
        size = info.get("size")
        known = size if isinstance(size, int) else None
        yield ListedObject(f"{prefix}{name}", _version_of(info), known)


def _version_of(info: Mapping[str, Any]) -> str:
    known = [str(info[name]) for name in _VERSION_MEMBERS if info.get(name)]
    return "|".join([*known, str(info.get("size"))]) if known else ""


def _walk(folder: str, uri: str) -> Iterator[ListedObject]:
    """Yield the files below a local folder. Links are no files: they may lead anywhere."""
    waiting = [(folder, uri)]
    while waiting:
        folder, uri = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = describe_error(error)
            raise FluxStorageError(f"{uri} could not be listed ({reason}).") from None
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, f"{uri}{entry.name}/"))
            elif entry.is_file(follow_symlinks=False) and (listed := _stat(entry, uri)):
                yield listed


def _stat(entry: os.DirEntry[str], uri: str) -> ListedObject | None:
    """Return a file of a local folder; ``None`` if it is gone."""
    try:
        stat = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    version = f"{stat.st_ino}|{stat.st_mtime_ns}|{stat.st_size}"
    return ListedObject(f"{uri}{entry.name}", version, stat.st_size, entry.path)
