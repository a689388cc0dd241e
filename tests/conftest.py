"""What all tests share: an Airflow home of their own, and an emulator on a real socket."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Before the first import of Airflow, which reads its home then. No test touches the user's own.
_HOME = tempfile.TemporaryDirectory(prefix="flux-tests-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
# gcsfs reads it when it is imported. It asks Google's gRPC API how a bucket is laid out: of an emulator, for a minute.
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

import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.object_stores import (
    AzureStore,
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

KEY = "bfl_canary_key_0123456789"


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[EmulatorServer]:
    """One emulator for the session, whose images take 0.2 s."""
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
            "azurite is not installed: make clean test, with npm at hand, or FLUX_TESTS_NPM=<its folder>"
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
    connect(emulator_process.url)
    return emulator_process


@pytest.fixture
def aws_lab(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Define the connection ``aws_lab`` to the S3 server; its id."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAB", s3_connection(s3))
    return "aws_lab"


@pytest.fixture(params=["file", "s3", "gs", "abfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty folder in each kind of store, and a connection to it.

    Airflow keeps what it has opened for a connection id: a test that wants another endpoint needs a fresh id.
    """
    if request.param == "file":
        (tmp_path / "store").mkdir()
        return FileStore(tmp_path / "store")
    server, kind = {"s3": ("s3", S3Store), "gs": ("gcs", GcsStore), "abfs": ("azure", AzureStore)}[
        request.param
    ]
    made = kind(request.getfixturevalue(server))
    made.make_bucket()
    monkeypatch.setenv(f"AIRFLOW_CONN_{made.conn_id.upper()}", made.connection(made.url))
    return made


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten backoffs and graces that real trouble needs and a test does not."""
    from tenacity import wait_fixed

    from airflow_provider_flux.bfl import polling, retries
    from airflow_provider_flux.operators import deferral

    monkeypatch.setattr(retries, "_BACKOFF", wait_fixed(0.05))
    monkeypatch.setattr(polling, "_NOT_FOUND_GRACE_SECONDS", 0.5)
    monkeypatch.setattr(polling, "_NOT_FOUND_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(deferral, "_MIN_DEFERRAL_SECONDS", 0.1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail what would be skipped where nothing may be: a green CI must have run everything."""
    report = yield
    if report.skipped and os.environ.get("FLUX_TESTS_MUST_NOT_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and nothing may be here: {report.longrepr}"
    return report
