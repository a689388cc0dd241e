"""A task with a ledger in each of its homes, and places where its process can die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.client.transport import RequestsTransport
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.task_tries import Died, StateStore, Task


@pytest.fixture(scope="module")
def emulator_process() -> Iterator[EmulatorServer]:
    """One emulator for the folder, whose images take no time."""
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        yield server


@dataclass
class Home:
    """A kind of ledger, and a task that has one."""

    kind: str
    folder: Path

    def task(self, prompt: str = "a fox", **arguments: Any) -> Task:
        """Return a task: with files it has an output_path, with the state store it has none."""
        if self.kind == "file":
            return Task(
                {"prompt": prompt, "output_path": f"{self.folder}/{{key}}.{{ext}}", **arguments}
            )
        return Task({"prompt": prompt, **arguments}, state_store=StateStore())

    def records(self, task: Task) -> list[dict[str, Any]]:
        """Return what the ledger of the task holds."""
        return task.records(self.folder if self.kind == "file" else None)


@pytest.fixture(params=["file", "state store"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Each kind of home."""
    return Home(request.param, tmp_path)


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the process die at a place, once: before or after the POST was sent, or at the first poll."""

    def plan(place: str) -> None:
        sending = RequestsTransport.send
        left = [place]

        def send(self: RequestsTransport, request: Any) -> Any:
            here = "poll" if request.method == "GET" else "post"
            if f"before {here}" in left:
                left.clear()
                raise Died
            answer = sending(self, request)
            if f"after {here}" in left:
                left.clear()
                raise Died
            return answer

        monkeypatch.setattr(RequestsTransport, "send", send)

    return plan
