"""Objects in each store: one atomic put with content type and metadata."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxExistsError,
    FluxRequestError,
    FluxStorageError,
)
from airflow_provider_flux.landing.target import LandingOptions
from airflow_provider_flux.object_store import fsspec_adapter, objects
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_async, run_sync
from airflow_provider_flux.object_store.objects import exists, put, read, remove
from tests.support.object_stores import AzureStore, Stat, Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MIB = 1024 * 1024
PNG = WriteOptions("image/png", "max-age=60", {"model": "flux-pro-1.1", "seed": "7"})
CLOUDS = pytest.mark.parametrize("store", ["s3", "ceph", "gs", "abfs"], indirect=True)
#: gcp-storage-emulator ignores ifGenerationMatch, which the real store does not.
CONDITIONAL = pytest.mark.parametrize("store", ["file", "s3", "ceph", "abfs"], indirect=True)


def on_worker(work: Any) -> Any:
    return run_sync(work)


def on_loop(work: Any) -> Any:
    async def wait() -> Any:
        return await run_async(work)

    return asyncio.run(wait())


callers = pytest.mark.parametrize("run_on", [on_worker, on_loop])


def open_uri(store: Store, name: str = "2026/hero.png") -> str:
    uri = f"{store.root}/{name}"
    open_path(uri)
    return uri


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@callers
def test_a_put_writes_and_replaces_an_object_with_its_content_type_and_metadata(
    store: Store, run_on: Callable[..., Any]
) -> None:
    uri = open_uri(store)
    run_on(put(uri, b"one", WriteOptions("image/jpeg", None, {"old": "1"})))
    run_on(put(uri, b"the second", PNG))
    assert store.read(uri) == run_on(read(uri)) == b"the second"
    expected = (
        Stat()
        if store.scheme == "file"
        else Stat("image/png", {"model": "flux-pro-1.1", "seed": "7"}, "max-age=60")
    )
    assert store.stat(uri) == expected
    assert store.names() == ["2026/hero.png"]


@callers
def test_an_exclusive_put_replaces_no_object(store: Store, run_on: Callable[..., Any]) -> None:
    uri = open_uri(store)
    run_on(put(uri, b"first", PNG, exclusive=True))
    run_on(put(uri, b"first", PNG, exclusive=True))  # our own, of which the store's answer was lost
    with pytest.raises(FluxExistsError, match="untouched"):
        run_on(put(uri, b"second", PNG, exclusive=True))
    assert store.read(uri) == b"first"
    assert store.names() == ["2026/hero.png"]


@CONDITIONAL
def test_the_store_refuses_an_exclusive_put_if_an_object_appeared_after_the_check(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_early(_: str) -> bool:
        return False

    uri = open_uri(store)
    run_sync(put(uri, b"first", PNG))
    monkeypatch.setattr(objects, "exists", too_early)
    run_sync(put(uri, b"first", PNG, exclusive=True))
    with pytest.raises(FluxExistsError):
        run_sync(put(uri, b"second", PNG, exclusive=True))
    assert store.read(uri) == b"first"
    assert store.names() == ["2026/hero.png"]


# Ceph accepts the write, and the order of versions decides: it reads no object in the way.
@pytest.mark.parametrize("store", ["file", "s3", "abfs"], indirect=True)
@pytest.mark.parametrize("check_first", [True, False])
def test_an_exclusive_put_succeeds_if_the_object_in_its_way_is_removed_meanwhile(
    store: Store, check_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, read_bytes = open_uri(store), fsspec_adapter.read_bytes

    async def read_too_late(*arguments: Any) -> bytes:
        await remove(uri)
        return await read_bytes(*arguments)

    run_sync(put(uri, b"first", PNG))
    monkeypatch.setattr(fsspec_adapter, "read_bytes", read_too_late)
    run_sync(put(uri, b"second", PNG, exclusive=True, check_first=check_first))
    assert store.read(uri) == b"second"


def test_an_exclusive_put_survives_a_fault_of_the_read_that_compares_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, faults = str(open_path(f"file://{tmp_path}/hero.png")), [TimeoutError()]
    read_bytes = fsspec_adapter.read_bytes

    async def read_with_fault(*arguments: Any) -> bytes:
        if faults:
            raise faults.pop()
        return await read_bytes(*arguments)

    run_sync(put(uri, b"first", PNG))
    monkeypatch.setattr(fsspec_adapter, "read_bytes", read_with_fault)
    run_sync(put(uri, b"first", PNG, exclusive=True, check_first=False))
    assert not faults


@CONDITIONAL
def test_one_of_two_simultaneous_exclusive_puts_wins(store: Store) -> None:
    bodies = [noise(2 * MIB, seed) for seed in range(2)]

    async def race(uri: str) -> list[Any]:
        work = [run_async(put(uri, body, PNG, exclusive=True)) for body in bodies]
        return await asyncio.gather(*work, return_exceptions=True)

    for number in range(3):
        uri = open_uri(store, f"{number}.png")
        results = asyncio.run(race(uri))
        lost = [one for one in results if one is not None]
        assert [type(one) for one in lost] == [FluxExistsError]
        assert store.read(uri) == bodies[results.index(None)]
    assert store.names() == ["0.png", "1.png", "2.png"]


def test_a_missing_object_is_not_read_and_does_not_exist(store: Store) -> None:
    uri = open_uri(store)
    assert run_sync(read(uri)) is None
    assert run_sync(exists(uri)) is False
    run_sync(put(uri, b"x", PNG))
    assert run_sync(exists(uri)) is True


NAMES = [
    *(
        "a b.png",
        "ü/日本.png",
        "a#b.png",
        "a?b.png",
        "a%20b.png",
        "100%.png",
        "a'b.png",
        'a"b.png',
        "a&b+c=d.png",
    ),
    *(
        "a#1.png",
        "~[c].png",
        "a*b.png",
        "a:b@c.png",
        "😀.png",
        "a<b>|.png",
        "?x",
        "#x",
        "a?x/b.png",
        "a#x/b.png",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_an_object_gets_exactly_the_name_of_its_uri(store: Store, name: str) -> None:
    uri = open_uri(store, name)
    run_sync(put(uri, b"first", PNG, exclusive=True))
    assert store.names() == [name]
    assert store.read(uri) == run_sync(read(uri)) == b"first"
    with pytest.raises(FluxExistsError):
        run_sync(put(uri, b"second", PNG, exclusive=True))


def test_a_long_name_that_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    name = f"{'図' * 80}.png"
    assert len(name.encode()) < 250
    (tmp_path / name).write_bytes(b"")
    open_path(f"file://{tmp_path}/{name}")
    run_sync(put(f"file://{tmp_path}/{name}", b"image", PNG))
    assert (tmp_path / name).read_bytes() == b"image"


#: Above 100 MiB s3 is written in parts, gs from 50 MiB on in pieces, Azure above 64 MiB in blocks.
LARGE = {"file": 20, "s3": 120, "gs": 60, "abfs": 70}


@pytest.mark.parametrize("is_large", [False, True])
def test_a_video_is_written_whole_with_its_type_and_metadata(store: Store, is_large: bool) -> None:
    uri, size = open_uri(store, "film.mp4"), LARGE[store.scheme] if is_large else 20
    data = noise(size * MIB)
    run_sync(put(uri, data, WriteOptions("video/mp4", "no-store", {"seed": "7"}), exclusive=True))
    assert store.read(uri) == data
    if store.scheme != "file":
        assert store.stat(uri) == Stat("video/mp4", {"seed": "7"}, "no-store")
    if store.scheme != "gs":
        with pytest.raises(FluxExistsError):
            run_sync(put(uri, data[::-1], PNG, exclusive=True))


@pytest.mark.parametrize(
    ("store", "options", "seen"),
    [
        (
            "s3",
            {
                "StorageClass": "STANDARD_IA",
                "ServerSideEncryption": "AES256",
                "ContentDisposition": "inline",
            },
            {
                "StorageClass": "STANDARD_IA",
                "ServerSideEncryption": "AES256",
                "ContentDisposition": "inline",
            },
        ),
        (
            "gs",
            {"content_disposition": "inline", "content_language": "de"},
            {"contentDisposition": "inline"},
        ),
        (
            "abfs",
            {"standard_blob_tier": "Cool", "content_disposition": "inline"},
            {"blob_tier": "Cool"},
        ),
        ("abfs", {"tags": {"team": "ads"}, "content_disposition": "inline"}, {"tag_count": 1}),
    ],
    indirect=["store"],
)
def test_store_options_reach_the_store(
    store: Any, options: dict[str, Any], seen: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 2.0)
    uri = open_uri(store)
    LandingOptions.parse(store_options=options).check_store_options(uri)
    run_sync(put(uri, b"image", WriteOptions("image/png", "no-store", {"seed": "7"}, options)))
    assert store.stat(uri) == Stat("image/png", {"seed": "7"}, "no-store")
    key = uri.partition(f"@{store.bucket}/")[2]
    if store.scheme == "s3":
        stored = store.client.head_object(Bucket=store.bucket, Key=key)
    elif store.scheme == "gs":
        stored = store._get(key.replace("/", "%2F")).json()
    else:
        properties = store.client.get_blob_client(key).get_blob_properties()
        stored = {"blob_tier": properties.blob_tier, "tag_count": properties.tag_count}
        assert properties.content_settings.content_disposition == "inline"
    assert {name: stored.get(name) for name in seen} == seen


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs", "file"])
def test_a_store_option_that_the_store_does_not_support_is_refused_by_name(scheme: str) -> None:
    for name in ("Storage_class", "SSECustomerKey", "metadata", "overwrite"):
        with pytest.raises(
            FluxRequestError, match=f"store_options has '{name}', which {scheme}://"
        ):
            LandingOptions.parse(store_options={name: "x"}).check_store_options(
                f"{scheme}://conn@bucket/x.png"
            )


@CLOUDS
def test_a_put_to_a_missing_bucket_fails_without_retries(store: Any) -> None:
    uri = store.root.replace(f"@{store.bucket}/", "@no-such-bucket-here/") + "/x.png"
    open_path(uri)
    started = time.monotonic()
    for exclusive in (False, True):
        with pytest.raises(FluxStorageError, match="no-such-bucket-here") as caught:
            run_sync(put(uri, b"image", PNG, exclusive=exclusive))
        assert not isinstance(caught.value, FluxExistsError)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("store", ["abfs"], indirect=True)
def test_a_put_with_wrong_credentials_fails_without_retries_and_does_not_show_them(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, wrong = json.loads(store.connection(store.url)), "d3Jvbmcga2V5IGNhbmFyeQ=="
    text = connection["extra"]["connection_string"]
    key = text.partition("AccountKey=")[2].partition(";")[0]
    connection["extra"]["connection_string"] = text.replace(key, wrong)
    conn_id = f"az_{uuid4().hex}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    uri = f"{store.root_by(conn_id)}/x.png"
    open_path(uri)
    started = time.monotonic()
    with pytest.raises(FluxStorageError) as caught:
        run_sync(put(uri, b"image", PNG))
    assert time.monotonic() - started < 10
    assert wrong not in str(caught.value)
    assert "signature" not in str(caught.value).lower() or "sig=" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no_such_conn@bucket/x.png", "no_such_conn"),
        ("nosuch://bucket/x.png", "not a scheme"),
        ("s3://conn:canary_password@bucket/x.png", r"\*\*\*@bucket"),
    ],
)
def test_a_store_that_cannot_be_used_is_reported_with_the_reason(uri: str, message: str) -> None:
    with pytest.raises(FluxConfigurationError, match=message) as caught:
        open_path(uri)
    assert "canary" not in str(caught.value)


def test_a_put_to_the_name_of_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    open_path(f"file://{tmp_path}")
    with pytest.raises(FluxStorageError):
        run_sync(put(f"file://{tmp_path}", b"new", PNG))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("prefix", ["", "file://", "local://"])
def test_a_put_to_a_local_path_writes_the_file_with_its_folders_and_nothing_else(
    tmp_path: Path, prefix: str
) -> None:
    target = tmp_path / "a" / "b" / "hero.png"
    open_path(f"{prefix}{target}")
    run_sync(put(f"{prefix}{target}", b"one", PNG, exclusive=True))
    with pytest.raises(FluxExistsError):
        run_sync(put(f"{prefix}{target}", b"two", PNG, exclusive=True))
    run_sync(put(f"{prefix}{target}", b"three", PNG))
    assert target.read_bytes() == b"three"
    assert os.listdir(target.parent) == ["hero.png"]


def test_a_put_to_a_store_that_was_not_opened_is_refused(store: Store) -> None:
    """Airflow would build its S3 filesystem on the event loop without the connection."""
    uri = f"{store.root}/x.png".replace("_lab@", f"_{uuid4().hex}@").replace("file://", "s3://c@b")
    with pytest.raises((FluxConfigurationError, FluxStorageError), match="not opened"):
        run_sync(put(uri, b"x", PNG))
