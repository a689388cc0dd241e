"""The emulator in a process of its own, so that its CPU does not count for what is measured."""

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
class Emulator:
    """A running emulator.

    :param url: base URL of its API.
    :param pid: id of its process.
    """

    url: str
    pid: int

    @property
    def connection(self) -> str:
        """The value for ``AIRFLOW_CONN_FLUX_DEFAULT``."""
        return self.connection_with()

    def connection_with(self, **extra: Any) -> str:
        """Return the value for ``AIRFLOW_CONN_FLUX_DEFAULT`` with extras.

        :param extra: extras of the connection.
        """
        connection = {"conn_type": "flux", "password": KEY, "host": self.url, "extra": extra}
        return json.dumps(connection)

    def read(self, page: str) -> Any:
        """Return a page of the emulator as JSON.

        :param page: ``stats`` or ``timeline``.
        """
        return requests.get(f"{self.url}/_emulator/{page}", timeout=60).json()

    def reset(self) -> None:
        """Forget all requests. With a seed, the same latencies are drawn again."""
        requests.post(f"{self.url}/_emulator/reset", timeout=10).raise_for_status()


@contextmanager
def run_emulator(*options: str) -> Iterator[Emulator]:
    """Run an emulator on a free port while the block lasts.

    :param options: options of its command line.
    """
    command = [sys.executable, "-m", "airflow_provider_flux.emulator"]
    command += ["--port", "0", "--credits", "10000000", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = re.search(r"http://\S+", process.stdout.readline())
            assert url is not None, "the emulator did not start"
            yield Emulator(url[0], process.pid)
        finally:
            process.terminate()
