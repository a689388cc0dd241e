"""Buckets, bounded reads and exclusive writes are the same with every version of s3fs."""

from __future__ import annotations

from uuid import uuid4

import pytest

from airflow_provider_flux.bfl.errors import FluxExistsError
from airflow_provider_flux.object_store import filesystem, objects
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync
from tests.support.object_stores import S3Store

CONTENT = b"hello world"


@pytest.fixture
def folder(s3: str, aws_lab: str) -> str:
    """A folder in a new bucket of S3 that is empty."""
    bucket = f"versions-{uuid4().hex}"
    S3Store(s3).client.create_bucket(Bucket=bucket)
    filesystem.open_path(f"s3://{aws_lab}@{bucket}/a")
    return f"s3://{aws_lab}@{bucket}/a"


def test_an_empty_bucket_is_no_missing_bucket(folder: str) -> None:
    assert filesystem.find_missing_bucket(folder) is None


def test_the_name_of_a_missing_bucket_is_returned(aws_lab: str) -> None:
    uri = f"s3://{aws_lab}@no-such-bucket/a"
    filesystem.open_path(uri)
    assert filesystem.find_missing_bucket(uri) == "no-such-bucket"


@pytest.mark.parametrize("max_bytes", [1, len(CONTENT), len(CONTENT) + 1, 10**6])
def test_a_bounded_read_returns_the_first_bytes(folder: str, max_bytes: int) -> None:
    run_sync(objects.put(f"{folder}/x.json", CONTENT, WriteOptions("application/json")))
    assert run_sync(objects.read_start(f"{folder}/x.json", max_bytes)) == CONTENT[:max_bytes]


def test_a_bounded_read_of_an_empty_object_returns_no_bytes(folder: str, s3: str) -> None:
    bucket, _, key = folder.partition("@")[2].partition("/")
    S3Store(s3).client.put_object(Bucket=bucket, Key=f"{key}/empty", Body=b"")
    assert run_sync(objects.read_start(f"{folder}/empty", 100)) == b""


def test_an_exclusive_write_does_not_replace_an_object(folder: str) -> None:
    options = WriteOptions("application/json")
    run_sync(objects.put(f"{folder}/x.json", CONTENT, options, exclusive=True))
    with pytest.raises(FluxExistsError):
        run_sync(objects.put(f"{folder}/x.json", b"another", options, exclusive=True))
    assert run_sync(objects.read(f"{folder}/x.json")) == CONTENT
