"""The servers of the tests keep objects with their properties."""

from __future__ import annotations

import random

import pytest
from airflow.sdk import ObjectStoragePath

from tests.support.object_stores import Stat, Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

#: How each file system is told the content type, metadata and how long to keep a copy.
_WORDS = {
    "file": {},
    "s3": {"ContentType": "image/png", "Metadata": {"seed": "7"}, "CacheControl": "no-store"},
    "gs": {
        "content_type": "image/png",
        "metadata": {"seed": "7"},
        "fixed_key_metadata": {"cache_control": "no-store"},
    },
    "abfs": {
        "content_settings": {"content_type": "image/png", "cache_control": "no-store"},
        "metadata": {"seed": "7"},
    },
}


@pytest.mark.parametrize("name", ["a.png", "2026/10/hero ü.png", "a%20b+c#1?x=1.png"])
@pytest.mark.parametrize("size", [0, 1000, 2_000_000])
def test_an_object_that_was_written_is_read_listed_and_described(
    store: Store, name: str, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    uri = f"{store.root}/{name}"
    path = ObjectStoragePath(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    assert store.read(uri) == data
    assert store.read(f"{uri}x") is None
    assert store.names() == [name]


def test_a_server_reports_the_content_type_and_metadata_of_a_write(store: Store) -> None:
    uri = f"{store.root}/a.png"
    with ObjectStoragePath(uri).open("wb", **_WORDS[store.scheme]) as file:
        file.write(b"image bytes")
    said = store.stat(uri)
    metadata = {
        name: text for name, text in said.metadata.items() if name != "is_directory"
    }  # adlfs adds it
    told = Stat() if store.scheme == "file" else Stat("image/png", {"seed": "7"}, "no-store")
    assert said._replace(metadata=metadata) == told


def test_each_test_has_a_folder_of_its_own(store: Store) -> None:
    assert store.names() == []
