"""Tests of ``airflow flux doctor``: each check can fail, and none stops or delays the others."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.cli.doctor import airflow_checks, storage
from airflow_provider_flux.cli.doctor.check import Check, Finding, run_checks
from airflow_provider_flux.cli.doctor.service import ServiceChecks
from airflow_provider_flux.cli.doctor.storage import StorageChecks
from airflow_provider_flux.emulator import EmulatorServer
from tests.conftest import KEY
from tests.support.object_stores import Store

Command = Callable[..., Any]


def statuses(ended: Any) -> dict[str, str]:
    return {row["check"]: row["status"] for row in json.loads(ended.out)}


# The command


def test_all_checks_of_a_sound_installation_pass_free_of_charge(
    tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    ended = command(
        "doctor", "--output-path", f"{tmp_path}/{{{{ ds }}}}/{{key}}.{{ext}}", "-o", "json"
    )
    assert ended.code == 0, ended.out
    found = statuses(ended)
    assert list(found) == [
        *(
            "versions",
            "connection",
            "balance",
            "region",
            "budgets",
            "proxy",
            "clock",
            "trusted hosts",
        ),
        *("store", "ledger", "database", "pool", "triggerer"),
    ]
    assert set(found.values()) <= {"ok", "warning"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert emulator.stats()["submits"] == 0


def test_spend_generates_one_image_after_the_cost_is_confirmed(
    emulator: EmulatorServer, command: Command
) -> None:
    declined = command("doctor", "--spend", "-o", "json")
    assert (declined.code, statuses(declined)["spend"]) == (0, "skipped")
    assert emulator.stats()["submits"] == 0
    ended = command("doctor", "--spend", "--yes", "-o", "json")
    assert (ended.code, statuses(ended)["spend"]) == (0, "ok")
    assert "flux-2-klein-4b: 1.4 credits" in ended.err
    assert (emulator.stats()["submits"], emulator.stats()["credits_spent"]) == (1, 1.4)


def test_a_service_that_cannot_be_reached_fails_its_checks_alone(
    connect: Any, command: Command
) -> None:
    connect("http://127.0.0.1:1")
    ended = command("doctor", "-o", "json")
    assert ended.code == 1
    failed = [name for name, status in statuses(ended).items() if status == "failed"]
    assert failed == ["balance", "clock"]
    assert "2 of 13 checks failed: balance, clock" in ended.err


def test_a_missing_connection_fails_the_checks_that_need_it(command: Command) -> None:
    ended = command("doctor", "--flux-conn-id", "no_such", "-o", "json")
    assert ended.code == 1
    found = statuses(ended)
    assert {found[name] for name in ("connection", "balance", "region", "clock")} == {"failed"}
    assert (found["versions"], found["database"]) == ("ok", "ok")


def test_a_service_that_never_answers_costs_each_check_its_own_time_only(
    connect: Any, command: Command
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        ended = command("doctor", "--timeout", "2", "-o", "json")
    assert time.monotonic() - began < 15
    details = {row["check"]: row["detail"] for row in json.loads(ended.out)}
    assert details["balance"] == details["clock"] == "It did not end within 2 s."


# One run


def test_an_error_in_one_check_does_not_stop_the_others() -> None:
    def leave() -> Finding:
        raise SystemExit(3)

    def fail() -> Finding:
        raise FluxStorageError("The bucket is gone.")

    good = Finding("ok", "fine")
    checks = [Check("exit", leave, 1), Check("error", fail, 1), Check("good", lambda: good, 1)]
    found = dict(run_checks(checks))
    assert found["exit"].status == found["error"].status == "failed"
    assert "The bucket is gone." in found["error"].detail
    assert found["good"] is good


# The service


@contextmanager
def service_with_date(offset: float) -> Iterator[str]:
    """A service whose clock is off."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"credits": 0.5}'
            self.send_response_only(200)
            self.send_header("Date", formatdate(time.time() + offset, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("offset", "status", "detail"),
    [
        (0, "ok", "agree"),
        (30, "warning", "behind"),
        (-30, "warning", "ahead of"),
        (300, "failed", "300 s behind"),
    ],
)
def test_the_clock_is_compared_with_that_of_the_service(
    offset: float, status: str, detail: str, connect: Any
) -> None:
    with service_with_date(offset) as url:
        connect(url)
        finding = ServiceChecks("flux_default").check_clock()
    assert finding.status == status
    assert detail in finding.detail


def test_a_balance_below_the_cheapest_image_fails(connect: Any) -> None:
    with service_with_date(0) as url:
        connect(url)
        finding = ServiceChecks("flux_default").check_balance()
    assert finding.status == "failed"
    assert "0.5 credits" in finding.detail


def test_a_host_that_does_not_resolve_fails_and_a_plain_gateway_warns(connect: Any) -> None:
    checks = ServiceChecks("flux_default")
    connect("https://gateway.invalid")
    assert checks.check_region().status == "failed"
    connect("http://localhost.localdomain:9")
    finding = checks.check_region()
    assert finding.status in {"warning", "failed"}  # the name resolves on some machines


def test_a_proxy_that_does_not_listen_fails_without_its_password(connect: Any) -> None:
    connect("https://api.bfl.ai", proxy="http://ann:hunter2@127.0.0.1:1")
    finding = ServiceChecks("flux_default").check_proxy()
    assert finding.status == "failed"
    assert "127.0.0.1:1, from the connection" in finding.detail
    assert "hunter2" not in str(finding)


def test_a_proxy_without_a_valid_port_fails_with_its_remedy(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("https://api.bfl.ai")
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:hunter2@proxy:port")
    finding = ServiceChecks("flux_default").check_proxy()
    assert (finding.status, "hunter2" in finding.detail) == ("failed", False)
    assert "HTTPS_PROXY" in finding.remedy


def test_the_proxy_of_the_environment_is_checked_unless_the_host_is_exempt(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("https://api.bfl.ai")
    checks = ServiceChecks("flux_default")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        finding = checks.check_proxy()
        assert (finding.status, "from the environment" in finding.detail) == ("ok", True)
    assert checks.check_proxy().status == "failed"
    monkeypatch.setenv("NO_PROXY", "bfl.ai")
    assert checks.check_proxy() == Finding("ok", "No proxy is used.")


def test_a_pattern_that_trusts_a_whole_top_level_domain_fails(connect: Any) -> None:
    checks = ServiceChecks("flux_default")
    connect("https://api.bfl.ai", trusted_hosts="*.com")
    assert checks.check_trusted_hosts().status == "failed"
    connect("https://api.bfl.ai", trusted_hosts="gateway.invalid")
    assert checks.check_trusted_hosts().status == "warning"
    connect("https://api.bfl.ai", trusted_hosts="localhost")
    assert checks.check_trusted_hosts().status == "ok"


# The store


def test_the_store_check_leaves_nothing_behind(store: Store) -> None:
    finding = StorageChecks(f"{store.root}/{{key}}.{{ext}}", None).check_store()
    assert finding.status == "ok", finding
    assert [name for name in store.names() if "doctor" in name] == []


def test_a_folder_that_cannot_be_written_fails_the_store_check(
    tmp_path: Path, command: Command, emulator: EmulatorServer
) -> None:
    (tmp_path / "file").write_text("")
    path = f"{tmp_path}/file/{{key}}.{{ext}}"
    ended = command("doctor", "--output-path", path, "-o", "json")
    assert ended.code == 1
    assert statuses(ended)["store"] == "failed"


def test_a_store_that_lets_a_second_writer_win_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = storage.put
    monkeypatch.setattr(storage, "put", lambda *args, **_: put(*args))
    finding = StorageChecks(f"{tmp_path}/{{key}}.{{ext}}", None).check_store()
    assert finding.status == "failed"
    assert "second writer" in finding.detail


def test_the_ledger_check_counts_records_and_names_those_that_cannot_be_read(
    tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    path = f"{tmp_path}/{{key}}.{{ext}}"
    checks = StorageChecks(path, None)
    assert "no records yet" in checks.check_ledger().detail
    size = ["--width", "256", "--height", "256"]
    assert command("generate", "fox", *size, "--output-path", path, "--yes").code == 0
    assert checks.check_ledger().detail.endswith("has 1 record: 1 returned.")
    command("generate", "owl [[fault:submit-lost]]", *size, "--output-path", path, "--yes")
    assert checks.check_ledger().status == "warning"
    next(tmp_path.rglob("*.1.json")).write_text("{")
    assert checks.check_ledger().status == "failed"


# Airflow


@pytest.fixture
def database(command: Command) -> Iterator[None]:
    """The database of the tests, without pools and triggerers of other tests."""
    from airflow.jobs.job import Job
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    def clean() -> None:
        with create_session() as session:
            session.execute(delete(Job).where(Job.job_type == "TriggererJob"))
            session.execute(delete(Pool).where(Pool.pool == "flux"))

    clean()
    yield
    clean()


def test_the_pool_is_checked_against_the_limit_of_the_account(database: None, connect: Any) -> None:
    from airflow.models.pool import Pool

    connect("http://127.0.0.1:1", max_active=6)
    assert "There is no pool flux" in airflow_checks.check_pool("flux", "flux_default").detail
    for slots, counts, status in ((6, True, "ok"), (7, True, "warning"), (6, False, "warning")):
        Pool.create_or_update_pool("flux", slots, "", include_deferred=counts)
        assert airflow_checks.check_pool("flux", "flux_default").status == status


def test_a_triggerer_counts_while_its_heartbeat_is_young(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.jobs.job import Job
    from airflow.utils.session import create_session

    assert "ever run" in airflow_checks.check_triggerer().detail
    for age, status in ((0, "ok"), (3600, "warning")):
        with create_session() as session:
            job = session.query(Job).filter(Job.job_type == "TriggererJob").first() or Job()
            job.job_type, job.state = "TriggererJob", "running"
            job.latest_heartbeat = datetime.now(UTC) - timedelta(seconds=age)
            session.add(job)
        assert airflow_checks.check_triggerer().status == status
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert airflow_checks.check_triggerer().status == "failed"


def test_a_package_that_is_too_old_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert airflow_checks.check_versions().status == "ok"
    version = airflow_checks.version
    monkeypatch.setattr(
        airflow_checks, "version", lambda name: "1.0" if name == "aiohttp" else version(name)
    )
    finding = airflow_checks.check_versions()
    assert finding.status == "failed"
    assert "aiohttp 1.0" in finding.detail


def test_a_database_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.pool import Pool

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(KEY)

    monkeypatch.setattr(Pool, "get_pools", refuse)
    finding = airflow_checks.check_database()
    assert finding.status == "failed"
    assert KEY not in str(finding)
