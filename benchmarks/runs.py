"""Runs of one way in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Used
from benchmarks.service import Service


@dataclass(frozen=True)
class Batch:
    """A batch of the operator that runs in a process of its own."""

    process: subprocess.Popen[str]
    log: Path

    def wait(self) -> dict[str, Any]:
        """Wait for its end, and return what :mod:`benchmarks.run_batch` says."""
        said, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(
                f"the batch failed with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
            )
        answer: dict[str, Any] = json.loads(said.splitlines()[-1])
        return answer


def start_batch(emulator: Service, folder: Path, name: str, count: int, **arguments: Any) -> Batch:
    """Start a batch of ``count`` images that land below ``folder/name``; ``arguments`` are for the operator."""
    home = folder / "airflow-home"
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_FLUX_DEFAULT": emulator.connection,
    }
    command = [
        sys.executable,
        "-m",
        "benchmarks.run_batch",
        name,
        str(folder),
        str(count),
        json.dumps(arguments),
    ]
    log = folder / f"{name}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stream, text=True, env=environment
        )
    return Batch(process, log)


def used_by(said: dict[str, Any]) -> Used:
    """Return what a run took, by what it said of itself."""
    return Used(said["cpu"], said["cpu_whole"], said["peak"])


def pool(emulator: Service, folder: Path, count: int) -> Used:
    """Run the documented loop in a pool of threads."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.contenders.pool",
        emulator.url,
        str(folder),
        str(count),
    ]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return used_by(json.loads(said.splitlines()[-1]))
