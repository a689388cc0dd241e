"""Exclusive writes on S3 servers that ignore ``If-None-Match``, as Ceph and rclone do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from airflow_provider_flux.bfl.errors import FluxExistsError
from airflow_provider_flux.object_store import exclusive
from airflow_provider_flux.object_store.backends import S3_PARTS_FROM_BYTES, WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_async, run_sync
from airflow_provider_flux.object_store.objects import put
from tests.support.ceph_like_proxy import CephLikeProxy

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

JSON = WriteOptions("application/json")
VERSIONED = "versioned"


@pytest.fixture
def versioned_folder(ceph: CephLikeProxy, ceph_folder: Callable[..., str]) -> Iterator[str]:
    """A folder in a bucket with versions, of a server that ignores conditions there."""
    ceph.make_versioned_bucket(VERSIONED)
    yield str(open_path(ceph_folder(bucket=VERSIONED)))
    ceph.barrier = None


def create(uri: str, data: bytes) -> None:
    """Create an object as the ledger does: right after a look that found none."""
    run_sync(put(uri, data, JSON, exclusive=True, check_first=False))


async def race(uri: str, bodies: list[bytes]) -> list[Any]:
    work = [run_async(put(uri, body, JSON, exclusive=True, check_first=False)) for body in bodies]
    return await asyncio.gather(*work, return_exceptions=True)


class TestVersionedBucket:
    """Fault 39: the store accepts every exclusive write, and keeps the versions."""

    def test_an_exclusive_write_does_not_replace_an_object(
        self, ceph: CephLikeProxy, versioned_folder: str
    ) -> None:
        """Fault 39: the second write landed too."""
        uri = f"{versioned_folder}/record.json"
        create(uri, b"first")
        create(uri, b"first")  # its own, whose answer was lost
        with pytest.raises(FluxExistsError, match="untouched"):
            create(uri, b"second")
        assert ceph.read(uri) == b"first"

    def test_one_of_several_simultaneous_writers_wins(
        self, ceph: CephLikeProxy, versioned_folder: str
    ) -> None:
        """Fault 39: all of them won."""
        bodies = [f"writer {number}".encode() for number in range(4)]
        for number in range(3):
            ceph.barrier = threading.Barrier(len(bodies))
            uri = f"{versioned_folder}/{number}.json"
            results = asyncio.run(race(uri, bodies))
            lost = [type(one) for one in results if one is not None]
            assert lost == [FluxExistsError] * (len(bodies) - 1), results
            assert ceph.read(uri) == bodies[results.index(None)]

    def test_an_object_that_was_removed_can_be_created_again(
        self, ceph: CephLikeProxy, versioned_folder: str
    ) -> None:
        """Fault 39: an old version below a removal is no object."""
        uri = f"{versioned_folder}/record.json"
        create(uri, b"first")
        ceph.remove(uri)
        create(uri, b"second")
        assert ceph.read(uri) == b"second"
        with pytest.raises(FluxExistsError):
            create(uri, b"third")

    def test_versions_that_may_not_be_listed_are_replaced_by_reading_back(
        self,
        ceph: CephLikeProxy,
        versioned_folder: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Fault 39: the credentials may lack ``s3:ListBucketVersions``."""
        monkeypatch.setattr(exclusive, "_SETTLE_SECONDS", 0.2)
        ceph.refuse("GET", 403, "AccessDenied", part="versions", times=100)
        ceph.barrier = threading.Barrier(2)
        uri = f"{versioned_folder}/record.json"
        results = asyncio.run(race(uri, [b"one", b"two"]))
        ceph.forget_plans()
        assert [type(one) for one in results if one is not None] == [FluxExistsError]
        assert ceph.read(uri) == [b"one", b"two"][results.index(None)]
        assert caplog.text.count("does not refuse to replace") == 1


class TestStoreWithoutConditions:
    """Fault 39: ``rclone serve s3`` ignores the header, and keeps no versions."""

    @pytest.fixture
    def folder(
        self, s3: str, ceph: CephLikeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[str]:
        monkeypatch.setattr(exclusive, "_SETTLE_SECONDS", 0.5)
        with CephLikeProxy(s3, tmp_path, tls=False, conditional=False) as proxy:
            conn_id = f"rclone_{uuid4().hex[:12]}"
            connection = proxy.connection(verify=True)
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection)
            yield str(open_path(f"s3://{conn_id}@media/{conn_id}"))

    def test_the_last_of_several_simultaneous_writers_wins_and_one_warning_is_logged(
        self, ceph: CephLikeProxy, folder: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Fault 39: all of them won, without a word."""
        bodies = [f"writer {number}".encode() for number in range(4)]
        for number in range(2):
            uri = f"{folder}/{number}.json"
            results = asyncio.run(race(uri, bodies))
            lost = [type(one) for one in results if one is not None]
            assert lost == [FluxExistsError] * (len(bodies) - 1), results
            assert ceph.read(uri) == bodies[results.index(None)]
        assert caplog.text.count("does not refuse to replace") == 1


def test_a_store_that_heeds_the_condition_is_asked_once_for_each_bucket(
    ceph: CephLikeProxy, ceph_folder: Callable[..., str]
) -> None:
    """Fault 39: a bucket without versions refuses a repeated write, so nothing waits."""
    folder = str(open_path(ceph_folder()))
    before = ceph.count("PUT")
    for number in range(3):
        create(f"{folder}/{number}.json", b"content")
    assert ceph.count("PUT") - before == 4


def test_an_exclusive_write_of_a_long_video_is_one_request(
    s3: str, ceph: CephLikeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 39: Ceph ignores the condition when an upload in parts completes."""
    with CephLikeProxy(s3, tmp_path, tls=False) as proxy:
        monkeypatch.setenv("AIRFLOW_CONN_CEPH_LARGE", proxy.connection(verify=True))
        uri = f"s3://ceph_large@media/{uuid4().hex}/film.mp4"
        open_path(uri)
        create(uri, b"old")
        with pytest.raises(FluxExistsError):
            create(uri, bytes(S3_PARTS_FROM_BYTES))
        assert proxy.read(uri) == b"old"
