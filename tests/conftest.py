"""Fixtures of all tests: an Airflow home of their own, an emulator, and object stores."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

# Set before the first import of Airflow, which reads its home then. No test uses that of the user.
_HOME = tempfile.TemporaryDirectory(prefix="flux-tests-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__FLUX__CACHE_FOLDER"] = os.path.join(_HOME.name, "flux-cache")
# Many tests give their DAG one id. Airflow stores each of them at once, not after 30 seconds.
os.environ["AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL"] = "0"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
# gcsfs reads this variable when it is imported. Without it, gcsfs asks Google's gRPC API for the
# layout of a bucket, which takes a minute with an emulator.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
for _name in (
    "BFL_API_KEY",
    "BFL_API_BASE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
):
    os.environ.pop(_name, None)

import hypothesis
import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.ceph_like_proxy import CephLikeProxy
from tests.support.conditional_stores import ConditionalStore, conditional_store
from tests.support.object_stores import (
    AzureStore,
    CephStore,
    FileStore,
    GcsStore,
    S3Store,
    Store,
    azure_server,
    azurite,
    gcs_server,
    s3_connection,
    s3_server,
)
from tests.support.skips import pytest_collection_modifyitems, pytest_runtest_makereport
from tests.support.sql_databases import postgres, postgres_server, sqlite

__all__ = [
    "postgres",
    "postgres_server",
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
    "sqlite",
]

KEY = "bfl_canary_key_0123456789"
# A busy machine is slow; that says nothing about a property.
hypothesis.settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any_machine")
#: The fixture of the server and the class of the store, by URL scheme.
_BUCKET_STORES = {"s3": ("s3", S3Store), "gs": ("gcs", GcsStore), "abfs": ("azure", AzureStore)}


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[EmulatorServer]:
    """One emulator for the session, with a latency of 0.2 seconds."""
    with EmulatorServer(EmulatorConfig(latency=0.2)) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A real S3 server on loopback; returns its URL."""
    pytest.importorskip("moto.server")
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def azure() -> Iterator[str]:
    """A real Azure blob service on loopback; returns its URL."""
    if azurite() is None:
        pytest.skip(
            "azurite is not installed. Install npm and run `make clean test`, or set "
            "FLUX_TESTS_NPM to a folder that has it"
        )
    with azure_server() as url:
        yield url


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """A server of the JSON API of GCS on loopback; returns its URL."""
    pytest.importorskip("gcp_storage_emulator")
    with gcs_server() as url:
        yield url


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the connection ``flux_default`` for the test."""

    def define(
        host: str | None, password: str | None = KEY, conn_id: str = "flux_default", **extra: object
    ) -> None:
        connection = {"conn_type": "flux", "password": password, "host": host, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    return define


@pytest.fixture
def emulator(emulator_process: EmulatorServer, connect: Callable[..., None]) -> EmulatorServer:
    """A fresh emulator, and a connection ``flux_default`` that points to it."""
    emulator_process.reset()
    emulator_process.set_faults()
    connect(emulator_process.url)
    return emulator_process


@pytest.fixture
def aws_lab(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Define the connection ``aws_lab`` to the S3 server, and return its id."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAB", s3_connection(s3))
    return "aws_lab"


@pytest.fixture(params=["file", "s3", "gs", "abfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty folder in each kind of store, and a connection to it.

    A test can also ask for ``ceph``: a versioned bucket of a server that behaves as Ceph does.
    Airflow caches filesystems by connection id, so a test with another endpoint needs a new id.
    """
    if request.param == "file":
        (tmp_path / "store").mkdir()
        return FileStore(tmp_path / "store")
    if request.param == "ceph":
        proxy: CephLikeProxy = request.getfixturevalue("ceph")
        proxy.make_versioned_bucket("versioned")
        monkeypatch.setenv("AIRFLOW_CONN_CEPH_LAB", proxy.connection())
        return CephStore(request.getfixturevalue("s3"), "versioned")
    server, kind = _BUCKET_STORES[request.param]
    store = kind(request.getfixturevalue(server))
    store.make_bucket()
    monkeypatch.setenv(f"AIRFLOW_CONN_{store.conn_id.upper()}", store.connection(store.url))
    return store


@pytest.fixture(params=["file", "s3", "gs", "abfs"])
def swapping(request: pytest.FixtureRequest) -> Iterator[ConditionalStore]:
    """An empty, open folder in each kind of store that can compare and swap, behind a proxy."""
    with conditional_store(request.param, request) as store:
        yield store


@pytest.fixture(scope="session")
def ceph(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephLikeProxy]:
    """An HTTPS server that behaves as Ceph does, with the bucket ``media``."""
    S3Store(s3).make_bucket()
    with CephLikeProxy(s3, tmp_path_factory.mktemp("ceph")) as proxy:
        yield proxy


@pytest.fixture
def ceph_folder(ceph: CephLikeProxy, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Define a connection to the Ceph-like server with a fresh id; returns a folder in it."""

    def define(key_id: str = "test", bucket: str = "media", **extra: Any) -> str:
        conn_id = f"ceph_{uuid4().hex[:12]}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", ceph.connection(key_id, **extra))
        return f"s3://{conn_id}@{bucket}/{conn_id}"

    return define


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the backoffs and grace periods that a real outage needs and a test does not."""
    from tenacity import wait_fixed

    from airflow_provider_flux.bfl import polling, retries
    from airflow_provider_flux.operators import deferral

    monkeypatch.setattr(retries, "_BACKOFF", wait_fixed(0.05))
    monkeypatch.setattr(polling, "_NOT_FOUND_GRACE_SECONDS", 0.5)
    monkeypatch.setattr(polling, "_NOT_FOUND_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(deferral, "_MIN_DEFERRAL_SECONDS", 0.1)
