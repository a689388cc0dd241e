"""Tests of inputs from an S3 server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxInputError,
    FluxRequestError,
)
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put
from tests.support.input_fetching import fetch_bytes, fetch_error
from tests.support.sample_media import MIB, make_image, make_large_image

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def bucket(aws_lab: str) -> str:
    """Provide the URI of an existing bucket, with the id of its connection."""
    ObjectStoragePath(f"s3://{aws_lab}@inputs/").mkdir(exist_ok=True)
    return f"s3://{aws_lab}@inputs"


@pytest.mark.parametrize("key", ["a.png", "2026/10/hero ü.png", "a%20b+c.png"])
def test_an_object_is_read_with_the_connection_of_its_uri(
    bucket: str, tmp_path: Path, key: str
) -> None:
    path = ObjectStoragePath(f"{bucket}/{key}")
    path.write_bytes(make_image())
    assert fetch_bytes(f"{bucket}/{key}", tmp_path) == make_image()
    assert fetch_bytes(path, tmp_path) == make_image()


@pytest.mark.parametrize(
    "name", ["a b.png", "a%20b.png", "a#1.png", "a?x=1.png", "100%.png", "ü.png", "[1].png"]
)
def test_what_was_landed_can_be_read_by_the_same_name(
    bucket: str, tmp_path: Path, name: str
) -> None:
    uri = f"{bucket}/landed/{name}"
    open_path(uri)
    run_sync(put(uri, make_image(), WriteOptions("image/png")))
    assert fetch_bytes(uri, tmp_path) == make_image()


def test_an_object_is_read_anew_each_time(bucket: str, tmp_path: Path) -> None:
    path = ObjectStoragePath(f"{bucket}/changing.png")
    for shade in (1, 2):
        path.write_bytes(make_image(shade=shade))
        assert fetch_bytes(str(path), tmp_path) == make_image(shade=shade)


def test_an_object_that_is_too_large_is_refused_before_it_is_read(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ObjectStoragePath(f"{bucket}/large.jpeg")
    path.write_bytes(make_large_image(MIB + 1))
    asked: list[Any] = []
    monkeypatch.setattr(type(path.fs), "get_file", lambda *arguments: asked.append(arguments))
    message = fetch_error(FluxRequestError, str(path), tmp_path)
    assert message == f"image ({path}) is larger than the 1 MB that the service accepts."
    assert asked == []


@pytest.mark.parametrize(
    ("key", "reason"),
    [("inputs/no-such.png", "inputs/no-such.png"), ("no-such-bucket/a.png", "NoSuchBucket")],
)
def test_a_missing_object_may_be_retried(
    bucket: str, aws_lab: str, tmp_path: Path, key: str, reason: str
) -> None:
    message = fetch_error(FluxInputError, f"s3://{aws_lab}@{key}", tmp_path)
    beginning = f"image (s3://aws_lab@{key}) could not be read (FileNotFoundError: "
    assert message.startswith(beginning)
    assert reason in message.removeprefix(beginning)


def test_a_folder_is_no_input(bucket: str, tmp_path: Path) -> None:
    ObjectStoragePath(f"{bucket}/folder/a.png").write_bytes(make_image())
    fetch_error(FluxInputError, f"{bucket}/folder", tmp_path)
    assert not (tmp_path / "0").is_file()


def test_a_store_that_does_not_answer_may_be_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "aws",
        "login": "test",
        "password": "s3cret-of-aws",
        "extra": {
            "region_name": "us-east-1",
            "endpoint_url": "http://127.0.0.1:9",
            "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
        },
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_GONE", json.dumps(connection))
    message = fetch_error(FluxInputError, "s3://aws_gone@inputs/a.png", tmp_path)
    assert message.startswith("image (s3://aws_gone@inputs/a.png) could not be read (")
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no_such_conn@inputs/a.png", "no_such_conn"),
        ("nosuch://inputs/a.png", "not a scheme"),
    ],
)
def test_the_error_of_an_unusable_store_names_the_reason_and_the_field(
    tmp_path: Path, uri: str, message: str
) -> None:
    told = fetch_error(FluxConfigurationError, uri, tmp_path)
    assert told.startswith(f"image={uri!r} cannot be used")
    assert message in told
