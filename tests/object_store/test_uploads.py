"""Uploads of large files in parts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.uploads import put_file
from tests.support.object_stores import Store

WRITE_OPTIONS = WriteOptions("application/x-ndjson")


@pytest.mark.parametrize("mebibytes", [1, 30])
def test_an_uploaded_file_is_whole_and_replaces_the_old_object(
    store: Store, tmp_path: Path, mebibytes: int
) -> None:
    uri = f"{store.root}/manifest.jsonl"
    open_path(uri)
    for seed in range(2):
        content = random.Random(seed).randbytes(mebibytes * 1024 * 1024)
        (tmp_path / "local").write_bytes(content)
        run_sync(put_file(uri, tmp_path / "local", WRITE_OPTIONS))
        assert store.read(uri) == content
    assert store.names() == ["manifest.jsonl"]


def test_an_upload_to_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "local").write_bytes(bytes(9 * 1024 * 1024))
    uri = f"file://{tmp_path}/file/manifest.jsonl"
    open_path(uri)
    with pytest.raises(FluxStorageError, match="could not be written"):
        run_sync(put_file(uri, tmp_path / "local", WRITE_OPTIONS))
