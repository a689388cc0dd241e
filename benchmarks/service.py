"""The emulator as a process of its own, for benchmarks: whoever is measured does not pay for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

KEY = "bfl_benchmark_key"


@dataclass(frozen=True)
class Service:
    """A running emulator."""

    url: str
    pid: int

    @property
    def connection(self) -> str:
        """The value of AIRFLOW_CONN_FLUX_DEFAULT."""
        return json.dumps({"conn_type": "flux", "password": KEY, "host": self.url})

    def ask(self, what: str) -> Any:
        """Return ``stats`` or ``timeline``."""
        return requests.get(f"{self.url}/_emulator/{what}", timeout=60).json()

    def reset(self) -> None:
        """Forget all; with a seed, the same latencies are drawn again."""
        requests.post(f"{self.url}/_emulator/reset", timeout=10).raise_for_status()


@contextmanager
def service(*options: str) -> Iterator[Service]:
    """Run an emulator with these options while the block lasts."""
    command = [
        sys.executable,
        "-m",
        "airflow_provider_flux.emulator",
        "--port",
        "0",
        "--credits",
        "10000000",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None, "the emulator did not start"
            yield Service(found[0], process.pid)
        finally:
            process.terminate()
