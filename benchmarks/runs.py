"""Runs of the batch operator and of the thread pool, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.emulator import Emulator
from benchmarks.figures import Usage


@dataclass(frozen=True)
class BatchProcess:
    """A batch of the operator that runs in a process of its own.

    :param process: process of :mod:`benchmarks.run_batch`.
    :param log: file with its log.
    """

    process: subprocess.Popen[str]
    log: Path

    def wait(self) -> dict[str, Any]:
        """Wait for the end of the batch, and return the report of :mod:`benchmarks.run_batch`."""
        output, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(
                f"the batch failed with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
            )
        report: dict[str, Any] = json.loads(output.splitlines()[-1])
        return report


def start_batch(
    emulator: Emulator,
    folder: Path,
    name: str,
    count: int,
    connection: str | None = None,
    **arguments: Any,
) -> BatchProcess:
    """Start a batch.

    :param emulator: emulator to submit to.
    :param folder: folder for the batch. Its images land below ``folder/name``.
    :param name: name of the batch, which begins its prompts.
    :param count: images to make.
    :param connection: the connection; ``None`` for that of the emulator without extras.
    :param arguments: further arguments of the operator.
    """
    airflow_home = folder / "airflow-home"
    airflow_home.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW_CONN_FLUX_DEFAULT": connection or emulator.connection,
    }
    command = [sys.executable, "-m", "benchmarks.run_batch"]
    command += [name, str(folder), str(count), json.dumps(arguments)]
    log = folder / f"{name}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stream, text=True, env=environment
        )
    return BatchProcess(process, log)


def usage_of(report: dict[str, Any]) -> Usage:
    """Return the usage from the report of a run."""
    return Usage(report["cpu"], report["cpu_whole"], report["peak"])


def run_pool(emulator: Emulator, folder: Path, count: int) -> Usage:
    """Run the documented loop in a pool of threads.

    :param emulator: emulator to submit to.
    :param folder: folder for the images.
    :param count: images to make.
    """
    command = [sys.executable, "-m", "benchmarks.contenders.pool"]
    command += [emulator.url, str(folder), str(count)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return usage_of(json.loads(output.splitlines()[-1]))
