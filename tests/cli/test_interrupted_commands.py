"""Tests of commands that are killed or interrupted, in processes of their own.

The next command, or a DAG with the same ids, resumes the batch. No prompt is submitted twice.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.operators.batch import SUMMARY_XCOM, FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.conftest import KEY
from tests.support.installation import Installation

ROWS = 12
HELD = 4
SMALL = {"width": 256, "height": 256}
RUN_AFTER = datetime(2026, 11, 29, tzinfo=UTC)
RUN_ID = "manual__2026-11-29T00:00:00+00:00"


@pytest.fixture
def service() -> Iterator[EmulatorServer]:
    """An emulator that four generations may use at once."""
    with EmulatorServer(EmulatorConfig(latency=0.2, max_active=HELD)) as server:
        yield server


@pytest.fixture
def home(installation: Installation, service: EmulatorServer, connect: Any) -> Installation:
    """An Airflow home with a connection to the service, for its processes and for this one."""
    from airflow.utils.db import initdb

    initdb()
    connect(service.url, max_active=HELD)
    connection = {"conn_type": "flux", "password": KEY, "host": service.url}
    connection["extra"] = {"max_active": HELD}  # type: ignore[assignment]
    installation.env["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(connection)
    return installation


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Twelve rows, of which the first four wait until the test releases them."""
    path = tmp_path / "rows.jsonl"
    lines = [
        {"key": f"fox-{number}", "prompt": f"fox {number}{' [[fault:held]]' * (number < HELD)}"}
        for number in range(ROWS)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def batch_arguments(rows: Path, folder: Path, *more: str) -> list[str]:
    path = f"{folder}/{{key}}.{{ext}}"
    defaults = ["--defaults", json.dumps(SMALL)]
    return ["batch", str(rows), "--output-path", path, *defaults, "--yes", "-o", "json", *more]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds, while a process runs."""
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_until_held(service: EmulatorServer, process: subprocess.Popen[str]) -> None:
    """Wait until four generations are submitted, recorded and polled."""
    wait_for(lambda: service.stats()["polls"] >= 2 * HELD, process)


def release(service: EmulatorServer) -> None:
    import requests

    requests.post(f"{service.url}/_emulator/release", timeout=60).raise_for_status()


def assert_paid_once(service: EmulatorServer, rows: int = ROWS) -> None:
    submits = service.stats()["submits_per_prompt"]
    assert len(submits) == rows
    assert set(submits.values()) == {1}


def test_a_killed_batch_is_resumed_by_the_same_command_and_then_by_a_dag(
    home: Installation, service: EmulatorServer, rows: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    ids = ("--as", "flux_catalog", "hero", RUN_ID)
    process = home.start(*batch_arguments(rows, folder, *ids))
    wait_until_held(service, process)
    process.kill()
    process.communicate()
    assert service.stats()["submits"] == HELD

    process = home.start(*batch_arguments(rows, folder, *ids))
    release(service)
    wait_for(lambda: len(list(folder.glob("*.jpeg"))) >= HELD + 2, process)
    process.kill()
    process.communicate()

    with DAG("flux_catalog", schedule=None) as dag:
        FluxGenerateBatchOperator(
            task_id="hero",
            requests=str(rows),
            defaults=SMALL,
            output_path=f"{folder}/{{key}}.{{ext}}",
            on_uncertain="resubmit",
        )
    run = run_dag(dag, run_after=RUN_AFTER)
    assert run.run_id == RUN_ID
    assert str(run.state) == "success"
    summary = run.get_task_instance("hero").xcom_pull(task_ids="hero", key=SUMMARY_XCOM)
    assert summary["landed"] == ROWS
    assert len(list(folder.glob("*.jpeg"))) == ROWS
    # The second kill may have struck a POST, whose row is uncertain then.
    submits = service.stats()["submits_per_prompt"]
    assert sum(submits.values()) - len(submits) <= summary["uncertain_submits"]
    assert all(submits[f"fox {number} [[fault:held]]"] == 1 for number in range(HELD))

    again = home.flux(*batch_arguments(rows, folder, *ids))
    assert again.returncode == 0, again.stderr
    assert "No row has to be submitted" in again.stderr
    assert json.loads(again.stdout)[0]["landed"] == ROWS


def test_ctrl_c_lands_the_rows_in_flight_and_the_same_command_does_the_others(
    home: Installation, service: EmulatorServer, rows: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    arguments = batch_arguments(rows, folder)
    process = home.start(*arguments)
    wait_until_held(service, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    release(service)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Stopping. Rows in flight land now." in err
    assert "Run the same command again" in err
    assert json.loads(out)[0]["landed"] == HELD
    assert service.stats()["submits"] == HELD

    ended = home.flux(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert f"{ROWS - HELD} of {ROWS} rows are submitted" in ended.stderr
    assert json.loads(ended.stdout)[0]["landed"] == ROWS
    assert_paid_once(service)
    assert KEY not in out + err + ended.stdout + ended.stderr


def test_an_interrupted_image_is_landed_by_a_dag_with_the_same_ids(
    home: Installation, service: EmulatorServer, tmp_path: Path
) -> None:
    path = f"{tmp_path}/{{key}}.{{ext}}"
    prompt = "owl [[fault:held]]"
    process = home.start(
        *("generate", prompt, "--width", "256", "--height", "256", "--output-path", path),
        *("--as", "flux_hero", "hero", RUN_ID, "--yes"),
    )
    wait_for(lambda: service.stats()["polls"] >= 2, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on and is billed" in err

    release(service)
    with DAG("flux_hero", schedule=None) as dag:
        FluxGenerateOperator(task_id="hero", prompt=prompt, output_path=path, **SMALL)
    run = run_dag(dag, run_after=RUN_AFTER)
    assert str(run.state) == "success"
    assert (tmp_path / "hero.jpeg").is_file()
    assert_paid_once(service, rows=1)


def test_ctrl_c_during_the_submit_waits_for_its_answer(
    home: Installation, service: EmulatorServer, tmp_path: Path
) -> None:
    path = f"{tmp_path}/{{key}}.{{ext}}"
    arguments = ["generate", "owl [[fault:submit-hang=3]]", "--width", "256", "--height", "256"]
    arguments += ["--output-path", path, "--yes"]
    process = home.start(*arguments)
    wait_for(lambda: service.stats()["submits"] == 1, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Waiting for the answer to the submit" in err
    assert "goes on and is billed" in err

    assert home.flux(*arguments).returncode == 0
    assert len(list(tmp_path.glob("*.jpeg"))) == 1
    assert_paid_once(service, rows=1)


def test_the_emulator_runs_until_a_signal(home: Installation) -> None:
    process = home.start("emulator", "--port", "0")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("FLUX emulator on http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
