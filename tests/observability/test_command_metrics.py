"""Metrics of a command in a process of its own, as a real StatsD receiver gets them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.installation import Installation
from tests.support.receivers import StatsdReceiver

pytest.importorskip("statsd")


@pytest.fixture
def statsd() -> Iterator[StatsdReceiver]:
    """A StatsD server."""
    receiver = StatsdReceiver()
    yield receiver
    receiver.close()


def test_a_command_counts_its_image_as_a_task_does(
    emulator: EmulatorServer, statsd: StatsdReceiver, tmp_path: Path
) -> None:
    installation = Installation(tmp_path)
    options = {"ON": True, "HOST": "127.0.0.1", "PORT": statsd.port, "INFLUXDB_ENABLED": True}
    for name, value in options.items():
        installation.env[f"AIRFLOW__METRICS__STATSD_{name}"] = str(value)
    output_path = f"{tmp_path}/{{key}}.{{ext}}"
    process = installation.start("generate", "a fox", "--output-path", output_path, "--yes")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    counts = {name for name, _, value in map(_split, statsd.lines()) if value.endswith("|c")}
    assert {
        "airflow.flux.submits,model=flux-pro-1.1",
        "airflow.flux.credits,model=flux-pro-1.1",
        "airflow.flux.outcomes,model=flux-pro-1.1,outcome=landed",
    } <= counts


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")
