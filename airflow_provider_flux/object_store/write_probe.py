"""Prove before a submit that a store can be written: one small object, always of the same name."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.backends import WriteOptions, backend_of
from airflow_provider_flux.object_store.errors import (
    describe_error,
    find_code,
    is_conflict,
    is_forbidden,
    is_unsupported,
)
from airflow_provider_flux.object_store.filesystem import reopen_path, run_sync
from airflow_provider_flux.object_store.objects import retry_transient
from airflow_provider_flux.object_store.s3_settings import is_aws

#: Name of the object below the beginning of an ``output_path``. It stays, so that credentials need
#: no right to remove objects, and the next probe replaces nothing.
PROBE_NAME = "_flux/ledger/write-probe.txt"
_CONTENT = b"Written by airflow-provider-flux before a submit, to prove that it can write here.\n"
#: URIs of the probes that this process has written.
_PROVED: set[str] = set()


def prove_writable(
    path: str, *, root: str, ledger: str | None, write_options: WriteOptions
) -> None:
    """Prove that an image can be written, unless the ledger in the same store proves it.

    A local folder was checked without a write. If the credentials may not write at ``root``, the
    folder of the image itself is tried, because a policy may name it.

    :param path: URI of the image, with its placeholders. Its store must be open.
    :param root: the folder at the beginning of ``output_path``.
    :param ledger: folder of the ledger; ``None`` if its records are no files.
    :param write_options: how the files beside the image are stored.
    :raises FluxStorageError: if the store refuses the write, or does not answer.
    """
    if urlsplit(path).scheme in {"", "file", "local"} or "{" in urlsplit(path).netloc:
        return
    if ledger and _store_of(ledger) == _store_of(path):
        return
    folder = path.partition("{")[0].rpartition("/")[0] + "/"
    is_root_there = _store_of(root) == _store_of(path)
    folders = list(dict.fromkeys([root, folder] if is_root_there else [folder]))
    errors = []
    for uri in (f"{name}{PROBE_NAME}" for name in folders):
        error = None if uri in _PROVED else run_sync(_find_error(uri, write_options))
        if error is None:
            _PROVED.add(uri)
            return
        errors.append(f"{uri} could not be written ({describe_error(error)}).")
        if not is_forbidden(error):
            break
    raise FluxStorageError(f"{errors[-1]} Nothing was submitted.")


async def _find_error(uri: str, write_options: WriteOptions) -> Exception | None:
    """Write the probe, and return why that failed; ``None`` if it was written or exists."""
    path = reopen_path(uri)
    write = partial(backend_of(path.protocol).write, path.fs, path.path, _CONTENT)
    try:
        version: str | None = await retry_transient()(write, write_options, True)
    except Exception as error:
        return None if _says_that_it_exists(error) or is_unsupported(error) else error
    if version is not None and not is_aws(fsspec_adapter.s3_endpoint(path.fs)):
        # This server may keep a version for each probe, because it ignores the condition.
        with suppress(Exception):
            if await fsspec_adapter.find_s3_version_below(path.fs, path.path, version):
                await fsspec_adapter.remove_s3_version(path.fs, path.path, version)
    return None


def _says_that_it_exists(error: Exception) -> bool:
    """Whether the probe of an earlier task is there, which these credentials could write too.

    Azure and GCS name the missing right to replace it.
    """
    return (
        is_conflict(error)
        or find_code(error) == "UnauthorizedBlobOverwrite"
        or (is_forbidden(error) and "storage.objects.delete" in str(error))
    )


def _store_of(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc
