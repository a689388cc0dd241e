"""One put: the whole image, or what was there before. Local files, a real S3 server, and what is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.storage import writer
from airflow_provider_flux.storage.writer import put
from airflow_provider_flux.stores import open_path


def test_a_local_file_is_written_with_its_folders_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "hero.png"
    assert put(f"file://{target}", b"one", "image/png") == f"file://{target}"
    assert put(str(target), b"two", "image/png") == str(target)
    assert target.read_bytes() == b"two"
    assert os.listdir(target.parent) == ["hero.png"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "hero.png"
    target.write_bytes(b"old")

    def no_space(_: int) -> None:
        raise PermissionError("no space")

    monkeypatch.setattr(writer.os, "fsync", no_space)
    with pytest.raises(FluxStorageError, match="no space"):
        put(f"file://{target}", b"new", "image/png")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["hero.png"]


def test_a_target_that_is_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(FluxStorageError):
        put(f"file://{tmp_path}", b"new", "image/png")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://no_such_conn@bucket/x.png", "no_such_conn"),
        ("gs://bucket/x.png", r"pip install 'airflow-provider-flux\[gcs\]'"),
        ("abfs://bucket/x.png", r"pip install 'airflow-provider-flux\[azure\]'"),
        ("nosuch://bucket/x.png", "not a scheme"),
    ],
)
def test_a_store_that_cannot_be_used_says_why(uri: str, said: str) -> None:
    with pytest.raises(FluxConfigurationError, match=said):
        open_path(uri)


@pytest.mark.parametrize(
    ("protocol", "option"),
    [
        ("s3", {"ContentType": "image/png"}),
        ("gs", {"content_type": "image/png"}),
        ("memory", {}),
    ],
)
def test_each_store_has_its_own_word_for_the_content_type(protocol: str, option: dict) -> None:
    assert writer._content_type_option(protocol, "image/png") == option


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_s3_object_has_its_content_type(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"region_name": "us-east-1", "endpoint_url": s3}
    connection = {"conn_type": "aws", "login": "test", "password": "testtest", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAB", json.dumps(connection))
    ObjectStoragePath("s3://aws_lab@media/").mkdir(exist_ok=True)
    uri = "s3://aws_lab@media/2026/hero ü.png"
    assert put(uri, b"image bytes", "image/png") == uri
    path = ObjectStoragePath(uri)
    assert path.read_bytes() == b"image bytes"
    assert path.fs.info(path.path)["ContentType"] == "image/png"
    with pytest.raises(FluxStorageError):
        put("s3://aws_lab@no-such-bucket/hero.png", b"image bytes", "image/png")
