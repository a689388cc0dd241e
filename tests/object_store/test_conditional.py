"""Compare-and-swap of one object, on each kind of store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.conditional import (
    PROBE_NAME,
    VersionConflictError,
    check_conditional,
    read_version,
    replace_version,
)
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.local_versions import lock_beside
from tests.support.ceph_like_proxy import CephLikeProxy
from tests.support.conditional_stores import ConditionalStore
from tests.support.object_stores import Store, s3_connection

OPTIONS = WriteOptions("application/json", "private, no-store", {"made-by": "a test"})
remote = pytest.mark.parametrize("swapping", ["s3", "gs", "abfs"], indirect=True)


def write(uri: str, data: bytes, version: str | None) -> str:
    return run_sync(replace_version(uri, data, version, OPTIONS))


def read(uri: str, max_bytes: int = 1000) -> tuple[bytes, str]:
    stored = run_sync(read_version(uri, max_bytes=max_bytes))
    assert stored is not None
    return stored.data, stored.version


class TestReplaceVersion:
    def test_a_write_succeeds_with_the_version_that_is_stored_alone(
        self, swapping: ConditionalStore
    ) -> None:
        uri = swapping.uri()
        assert run_sync(read_version(uri, max_bytes=10)) is None
        with pytest.raises(VersionConflictError, match="Another writer changed"):
            write(uri, b"not first", '"0x1"' if uri.startswith("abfs") else "1")
        first = write(uri, b"first", None)
        assert read(uri) == (b"first", first)
        with pytest.raises(VersionConflictError):
            write(uri, b"another first", None)
        second = write(uri, b"second", first)
        with pytest.raises(VersionConflictError):
            write(uri, b"late", first)
        assert (read(uri), swapping.read()) == ((b"second", second), b"second")
        if swapping.proxy is not None:
            stat = swapping.store.stat(f"{swapping.store.root}/state.json")
            assert (stat.content_type, stat.cache_control) == (
                "application/json",
                "private, no-store",
            )

    @remote
    def test_an_answer_that_is_lost_counts_as_written(self, swapping: ConditionalStore) -> None:
        assert swapping.proxy is not None
        uri = swapping.uri()
        version = write(uri, b"first", None)
        swapping.proxy.lose_next()
        version = write(uri, b"second", version)
        assert (swapping.proxy.drawn["lost"], read(uri)) == (1, (b"second", version))
        write(uri, b"third", version)

    @remote
    def test_a_write_that_was_lost_and_then_replaced_is_a_conflict(
        self, swapping: ConditionalStore
    ) -> None:
        """Only the writer's own list of writes can tell: see SharedState."""
        assert swapping.proxy is not None
        uri = swapping.uri()
        version = write(uri, b"first", None)
        swapping.proxy.lose_next(lambda: write(uri, b"of another", read(uri)[1]))
        with pytest.raises(VersionConflictError):
            write(uri, b"second", version)
        assert read(uri)[0] == b"of another"

    def test_a_missing_bucket_is_no_conflict(self, swapping: ConditionalStore) -> None:
        if swapping.proxy is None:
            uri = "/proc/nothing/can/be/written/here"
        else:
            uri = swapping.uri().replace("@media/", "@no-such-bucket/")
        with pytest.raises(FluxStorageError, match="could not be written") as caught:
            write(uri, b"{}", None)
        assert not isinstance(caught.value, VersionConflictError)

    @pytest.mark.parametrize("swapping", ["file"], indirect=True)
    def test_a_local_write_waits_for_the_lock_and_leaves_no_temporary_file(
        self, swapping: ConditionalStore
    ) -> None:
        path = Path(swapping.uri())
        written = threading.Event()
        with lock_beside(path):
            thread = threading.Thread(
                target=lambda: (write(str(path), b"waited", None), written.set())
            )
            thread.start()
            assert not written.wait(0.1)
        assert written.wait(60)
        thread.join()
        assert sorted(item.name for item in path.parent.iterdir()) == [
            ".state.json.lock",
            "state.json",
        ]


class TestReadVersion:
    def test_an_object_that_is_too_large_is_refused(self, swapping: ConditionalStore) -> None:
        write(swapping.uri(), b"x" * 100, None)
        assert len(read(swapping.uri(), 100)[0]) == 100
        with pytest.raises(FluxStorageError, match="has more than 99 bytes"):
            read(swapping.uri(), 99)

    def test_an_empty_object_is_an_object(self, swapping: ConditionalStore) -> None:
        version = write(swapping.uri(), b"", None)
        assert read(swapping.uri()) == (b"", version)

    def test_a_refusal_is_an_error_and_not_an_empty_state(
        self, ceph_folder: Callable[..., str]
    ) -> None:
        uri = f"{ceph_folder('writer')}/state.json"
        open_path(uri)
        with pytest.raises(FluxStorageError, match=r"could not be read .*AccessDenied"):
            read(uri)

    @pytest.mark.parametrize("swapping", ["file"], indirect=True)
    def test_a_pipe_or_a_folder_in_place_of_the_file_is_refused_at_once(
        self, swapping: ConditionalStore
    ) -> None:
        os.mkfifo(swapping.uri("pipe"))
        Path(swapping.uri("folder")).mkdir()
        for name in ("pipe", "folder"):
            with pytest.raises(FluxStorageError, match="could not be read"):
                read(swapping.uri(name))


class TestCheckConditional:
    def test_a_store_is_proved_once_by_one_small_object(self, swapping: ConditionalStore) -> None:
        run_sync(check_conditional(swapping.uri()))
        run_sync(check_conditional(swapping.uri("other.json")))
        if swapping.proxy is not None:
            assert swapping.store.all_names() == [PROBE_NAME]
            sent = [item for item in swapping.proxy.received if not item.startswith("GET")]
            assert sum(PROBE_NAME in item or "upload" in item for item in sent) == 3

    @pytest.mark.parametrize("store", ["gs"], indirect=True)
    def test_a_server_of_gcs_that_ignores_conditions_is_refused(self, store: Store) -> None:
        open_path(store.root)
        with pytest.raises(FluxConfigurationError, match="ignores the condition of a write"):
            run_sync(check_conditional(f"{store.root}/state.json"))

    def test_a_bucket_with_versions_of_ceph_is_refused_and_one_without_is_not(
        self, ceph: CephLikeProxy, ceph_folder: Callable[..., str]
    ) -> None:
        bucket = f"v{uuid4().hex[:12]}"
        ceph.make_versioned_bucket(bucket)
        with_versions = f"{ceph_folder(bucket=bucket)}/state.json"
        without = f"{ceph_folder()}/state.json"
        for uri in (with_versions, without):
            open_path(uri)
        with pytest.raises(FluxConfigurationError, match="a bucket without versions"):
            run_sync(check_conditional(with_versions))
        run_sync(check_conditional(without))

    def test_a_server_that_ignores_all_conditions_is_refused(
        self, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ceph: CephLikeProxy
    ) -> None:
        conn_id = f"rclone_{uuid4().hex[:12]}"
        with CephLikeProxy(s3, tmp_path, tls=False, conditional=False) as proxy:
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", s3_connection(proxy.url))
            uri = f"s3://{conn_id}@media/{conn_id}/state.json"
            open_path(uri)
            with pytest.raises(FluxConfigurationError, match="ignores the condition of a write"):
                run_sync(check_conditional(uri))

    def test_credentials_that_may_not_write_are_named(
        self, ceph_folder: Callable[..., str]
    ) -> None:
        uri = f"{ceph_folder('reader')}/state.json"
        open_path(uri)
        with pytest.raises(FluxStorageError, match=r"could not be written .*AccessDenied"):
            run_sync(check_conditional(uri))

    @pytest.mark.parametrize("scheme", ["memory", "sftp", "hdfs", "github"])
    def test_other_kinds_of_stores_are_refused(
        self, scheme: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER_LAB", "generic://")
        attach(scheme, "other_lab", fs=MemoryFileSystem())  # as a provider of Airflow would
        open_path(f"{scheme}://other_lab@place")
        with pytest.raises(FluxConfigurationError, match="cannot compare and swap an object"):
            run_sync(check_conditional(f"{scheme}://other_lab@place/state.json"))

    @pytest.mark.parametrize("swapping", ["file"], indirect=True)
    def test_a_local_folder_without_write_permission_is_refused(
        self, swapping: ConditionalStore
    ) -> None:
        with pytest.raises(FluxConfigurationError, match="its filesystem must support locks"):
            run_sync(check_conditional("/proc/nothing/can/be/written/here"))
