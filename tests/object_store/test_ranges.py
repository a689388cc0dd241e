"""Parts of an object in each store, and the size and version of an object."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put
from airflow_provider_flux.object_store.ranges import find_object, read_range
from tests.support.object_stores import Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TEXT = WriteOptions("text/plain")


def write(store: Store, data: bytes) -> str:
    uri = f"{store.root}/2026/part.txt"
    open_path(uri)
    run_sync(put(uri, data, TEXT))
    return uri


def test_a_range_is_the_bytes_between_two_positions(store: Store) -> None:
    uri = write(store, b"0123456789")
    expected = [b"012", b"3456", b"9", b"456789"]
    parts = [(0, 3), (3, 7), (9, 10), (4, 400)]
    assert [run_sync(read_range(uri, *part)) for part in parts] == expected


def test_ranges_can_be_read_beside_each_other(store: Store) -> None:
    uri = write(store, bytes(range(200)))

    async def read_all() -> list[bytes]:
        return await asyncio.gather(*(read_range(uri, n, n + 1) for n in range(0, 200, 20)))

    assert run_sync(read_all()) == [bytes([n]) for n in range(0, 200, 20)]


def test_the_version_of_an_object_changes_when_it_is_written_again(store: Store) -> None:
    first = run_sync(find_object(write(store, b"one")))
    again = run_sync(find_object(write(store, b"one")))
    longer = run_sync(find_object(write(store, b"three")))
    assert first is not None
    assert again is not None
    assert longer is not None
    assert (first.bytes, longer.bytes) == (3, 5)
    assert longer.version != first.version
    if store.scheme == "s3":  # an ETag is that of the content
        assert again == first


def test_a_missing_object_has_no_size_and_no_bytes(store: Store) -> None:
    uri = write(store, b"one") + ".missing"
    assert run_sync(find_object(uri)) is None
    with pytest.raises(FluxStorageError, match="could not be read"):
        run_sync(read_range(uri, 0, 10))


def test_a_pipe_is_no_object_because_a_read_of_it_never_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    open_path(f"{tmp_path}/pipe.jsonl")
    assert run_sync(find_object(f"{tmp_path}/pipe.jsonl")) is None
