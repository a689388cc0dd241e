"""Writes that are refused, lost or interrupted: retries, and no partial objects."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxStorageError
from airflow_provider_flux.object_store import objects
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_async, run_sync
from airflow_provider_flux.object_store.objects import put, read
from tests.support.answering_proxy import AnsweringProxy
from tests.support.cluster.processes import wait_until
from tests.support.cutting_proxy import CuttingProxy
from tests.support.object_stores import S3Store

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.parametrize("store", ["s3"], indirect=True),
]
PNG = WriteOptions("image/png", None, {"seed": "7"})
IMAGE = b"image" * 4000


def uri_through(url: str, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a URI in the store through another address, with a fresh connection."""
    conn_id = f"s3_{uuid4().hex}"
    connection = json.loads(store.connection(url))
    connection["extra"]["config_kwargs"] = {"retries": {"max_attempts": 0}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    uri = f"{store.root_by(conn_id)}/hero.png"
    open_path(uri)
    return uri


@pytest.fixture
def answering(store: S3Store) -> Iterator[AnsweringProxy]:
    with AnsweringProxy(store.url) as proxy:
        yield proxy


@pytest.fixture
def cutting(store: S3Store) -> Iterator[CuttingProxy]:
    with CuttingProxy(store.url) as proxy:
        yield proxy


@pytest.fixture
def uri(answering: AnsweringProxy, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> str:
    return uri_through(answering.url, store, monkeypatch)


def test_a_put_to_a_busy_store_is_retried(
    store: S3Store, answering: AnsweringProxy, uri: str
) -> None:
    answering.refuse("PUT", 503, "SlowDown", times=7)  # more than s3fs itself tries
    run_sync(put(uri, IMAGE, PNG, exclusive=True))
    assert store.read(uri) == IMAGE
    assert store.stat(uri).content_type == "image/png"


def test_a_put_to_a_store_that_stays_busy_fails_in_the_end(
    store: S3Store, answering: AnsweringProxy, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 1.5)
    answering.refuse("PUT", 503, "SlowDown", times=1000)
    with pytest.raises(FluxStorageError, match="could not be written"):
        run_sync(put(uri, IMAGE, PNG))
    assert store.names() == []


def test_a_put_that_the_store_forbids_is_not_retried(
    store: S3Store, answering: AnsweringProxy, uri: str
) -> None:
    answering.refuse("PUT", 403, "AccessDenied", times=1000)
    with pytest.raises(FluxStorageError, match="PermissionError"):
        run_sync(put(uri, IMAGE, PNG))
    assert answering.count("PUT") == 1


def test_a_412_without_a_condition_means_that_the_object_exists(
    store: S3Store, answering: AnsweringProxy, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_early(_: str) -> bool:
        return False

    run_sync(put(uri, IMAGE, PNG))
    monkeypatch.setattr(objects, "exists", too_early)
    answering.refuse("PUT", 412, "PreconditionFailed", times=2)
    run_sync(put(uri, IMAGE, PNG, exclusive=True))
    with pytest.raises(FluxExistsError):
        run_sync(put(uri, b"other", PNG, exclusive=True))
    assert store.read(uri) == IMAGE


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_409_about_a_name_that_is_free_is_retried(
    store: S3Store, answering: AnsweringProxy, uri: str, code: str
) -> None:
    answering.refuse("PUT", 409, code)
    run_sync(put(uri, IMAGE, PNG, exclusive=True))
    assert store.read(uri) == IMAGE


def test_an_exclusive_put_whose_answer_was_lost_accepts_its_own_object(
    store: S3Store, cutting: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = uri_through(cutting.url, store, monkeypatch)
    cutting.cut(None)
    run_sync(put(uri, IMAGE, PNG, exclusive=True))
    assert (store.read(uri), cutting.cuts) == (IMAGE, 1)


def test_a_store_without_exclusive_writes_gets_a_plain_write(
    store: S3Store, answering: AnsweringProxy, uri: str
) -> None:
    answering.refuse("PUT", 501, "NotImplemented")
    run_sync(put(uri, IMAGE, PNG, exclusive=True))
    assert (store.names(), answering.count("PUT")) == (["hero.png"], 2)
    with pytest.raises(FluxExistsError):
        run_sync(put(uri, b"another", PNG, exclusive=True))


@pytest.mark.parametrize("tenth", [0, 5, 9])
def test_a_put_whose_connection_breaks_within_the_body_is_retried(
    store: S3Store, cutting: CuttingProxy, monkeypatch: pytest.MonkeyPatch, tenth: int
) -> None:
    uri = uri_through(cutting.url, store, monkeypatch)
    cutting.cut(len(IMAGE) * tenth // 10, times=2)
    run_sync(put(uri, IMAGE, PNG))
    assert (store.read(uri), cutting.cuts) == (IMAGE, 2)


def test_cancelling_the_wait_for_a_put_ends_the_put(
    store: S3Store, cutting: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled task must not go on in the background and replace its successor's object."""
    uri = uri_through(cutting.url, store, monkeypatch)
    cutting.delay = 1.0

    async def cancel_halfway() -> None:
        work = asyncio.create_task(run_async(put(uri, IMAGE, PNG)))
        assert await asyncio.to_thread(wait_until, lambda: cutting.large > 0, 30)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancel_halfway())
    time.sleep(1.8)
    assert (store.names(), cutting.large) == ([], 1)


def test_an_exception_in_the_wait_for_a_put_ends_the_put(
    store: S3Store, cutting: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = uri_through(cutting.url, store, monkeypatch)
    cutting.delay = 1.0

    def alarm(*_: object) -> NoReturn:
        raise RuntimeError("time is up")

    run_sync(read(uri))  # opens the client, which may take longer than the alarm
    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(RuntimeError, match="time is up"):
            run_sync(put(uri, IMAGE, PNG))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    time.sleep(1.8)
    assert (store.names(), cutting.large) == ([], 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_the_old_file_and_no_other(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    target, tried = tmp_path / "hero.png", []
    target.write_bytes(b"old")

    def full(handle: int) -> None:
        tried.append(handle)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(objects, "_RETRY_SECONDS", 0.5)
    monkeypatch.setattr(os, "fsync", full)
    open_path(str(target))
    with pytest.raises(FluxStorageError, match=os.strerror(number)):
        run_sync(put(str(target), b"new", PNG))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["hero.png"]
    assert number == errno.EIO or len(tried) == 1


def test_a_store_option_of_a_wrong_type_fails_without_retries(
    store: S3Store, answering: AnsweringProxy, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 4.0)
    started = time.monotonic()
    with pytest.raises(FluxStorageError, match="BucketKeyEnabled"):
        run_sync(put(uri, IMAGE, WriteOptions("image/png", options={"BucketKeyEnabled": "yes"})))
    assert time.monotonic() - started < 2


def test_a_storage_error_shows_no_secret(
    store: S3Store, answering: AnsweringProxy, uri: str
) -> None:
    secret = "https://h.example/x?X-Amz-Signature=canary bfl_canary_0123456789"
    answering.refuse("PUT", 403, secret)
    with pytest.raises(FluxStorageError) as caught:
        run_sync(put(uri, IMAGE, PNG))
    assert "canary" not in str(caught.value)
    answering.refuse("GET", 400, secret)
    with pytest.raises(FluxStorageError) as caught:
        run_sync(read(uri))
    assert "canary" not in str(caught.value)
