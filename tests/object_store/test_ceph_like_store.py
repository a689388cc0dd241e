"""The package on a store that behaves as Ceph radosgw 16.2 does, over HTTPS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store.backends import PART_BYTES, WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_async, run_sync
from airflow_provider_flux.object_store.objects import put, read
from airflow_provider_flux.object_store.uploads import put_file
from tests.support.ceph_like_proxy import CephLikeProxy

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PNG = WriteOptions("image/png", None, {"model": "flux-pro-1.1", "request-id": "r-1"})


@pytest.fixture
def open_folder(ceph_folder: Callable[..., str]) -> Callable[..., str]:
    """Open a folder of the Ceph-like server through a new connection."""

    def open_new(*arguments: Any, **extra: Any) -> str:
        return str(open_path(ceph_folder(*arguments, **extra)))

    return open_new


class TestTrailers:
    """Fault 38: botocore's checksum in a trailer, which the store refuses over HTTPS."""

    def test_a_store_that_refuses_trailers_takes_objects_over_https(
        self, open_folder: Callable[..., str]
    ) -> None:
        """Fault 38: every write failed with ``[Errno 22] None``."""
        uri = f"{open_folder()}/hero.png"
        run_sync(put(uri, b"image bytes", PNG))
        asyncio.run(run_async(put(uri, b"image bytes", PNG, exclusive=True)))
        assert run_sync(read(uri)) == b"image bytes"

    def test_a_store_that_refuses_trailers_takes_an_upload_in_parts(
        self, open_folder: Callable[..., str], tmp_path: Path
    ) -> None:
        """Fault 38: the manifest of a large batch, or a long video, has several parts."""
        uri, file = f"{open_folder()}/manifest.jsonl", tmp_path / "manifest.jsonl"
        file.write_bytes(bytes(3 * PART_BYTES))
        run_sync(put_file(uri, file, WriteOptions("application/x-ndjson")))
        assert len(run_sync(read(uri)) or b"") == 3 * PART_BYTES

    def test_a_filesystem_that_was_used_before_takes_objects_too(
        self, ceph: CephLikeProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Fault 38: an XCom backend may open the client first, with the default settings."""
        monkeypatch.setenv("AIRFLOW_CONN_CEPH_SHARED", ceph.connection())
        monkeypatch.setenv("AWS_CA_BUNDLE", str(ceph.certificate))
        path = ObjectStoragePath("s3://ceph_shared@media/shared/a.png")
        assert not path.exists()
        open_path(str(path))
        run_sync(put(str(path), b"image bytes", PNG))

    @pytest.mark.parametrize("place", ["connection", "environment", "profile"])
    def test_a_checksum_setting_of_the_user_wins(
        self,
        open_folder: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        place: str,
    ) -> None:
        """Fault 38: the cure must not override what a user has set."""
        setting = {"request_checksum_calculation": "when_supported"}
        extra: dict[str, Any] = {}
        if place == "connection":
            extra["config_kwargs"] = setting
        elif place == "environment":
            monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
        else:
            config = tmp_path / "config"
            config.write_text("[default]\nrequest_checksum_calculation = when_supported\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        with pytest.raises(FluxStorageError, match="InvalidArgument, HTTP 400"):
            run_sync(put(f"{open_folder(**extra)}/hero.png", b"image bytes", PNG))


@pytest.mark.parametrize(
    ("key_id", "code"),
    [
        ("unknown", "InvalidAccessKeyId"),
        ("forged", "SignatureDoesNotMatch"),
        ("expired", "ExpiredToken"),
    ],
)
def test_wrong_credentials_are_named_and_are_no_missing_object(
    open_folder: Callable[..., str], key_id: str, code: str
) -> None:
    """Fault 40: the message was ``PermissionError: None``, and a read returned no object."""
    uri = f"{open_folder(key_id)}/hero.png"
    with pytest.raises(FluxStorageError, match=f"PermissionError: {code}, HTTP 403"):
        run_sync(put(uri, b"image bytes", PNG))
    with pytest.raises(FluxStorageError, match=f"PermissionError: {code}, HTTP 403"):
        run_sync(read(uri))


def test_a_read_that_the_rights_forbid_counts_as_a_missing_object(
    open_folder: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run_sync(read(f"{open_folder('writer')}/hero.png")) is None
    assert "forbids reading" in caplog.text


def test_a_write_into_a_missing_bucket_names_the_code(open_folder: Callable[..., str]) -> None:
    """Fault 40: the message was ``FileNotFoundError: None``."""
    with pytest.raises(FluxStorageError, match="NoSuchBucket, HTTP 404"):
        run_sync(put(f"{open_folder(bucket='nowhere')}/hero.png", b"image bytes", PNG))


def test_metadata_comes_back_under_its_own_names(
    open_folder: Callable[..., str], ceph: CephLikeProxy
) -> None:
    """Fault 41: the store returns ``request-id`` for ``request_id``."""
    uri = f"{open_folder()}/hero.png"
    run_sync(put(uri, b"image bytes", PNG))
    assert ceph.metadata(uri) == dict(PNG.metadata)
