"""Fixtures: a task with each kind of ledger, and moments at which its process dies."""

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
class LedgerKind:
    """A kind of ledger: files, or the task state store."""

    kind: str
    folder: Path

    def task(self, prompt: str = "a fox", **arguments: Any) -> Task:
        """Return a task with this kind of ledger. Only files need an output_path."""
        if self.kind == "file":
            arguments = {"output_path": f"{self.folder}/{{key}}.{{ext}}", **arguments}
            return Task({"prompt": prompt, **arguments})
        return Task({"prompt": prompt, **arguments}, state_store=StateStore())

    def records(self, task: Task) -> list[dict[str, Any]]:
        """Return the records of the task."""
        return task.records(self.folder if self.kind == "file" else None)


@pytest.fixture(params=["file", "state store"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerKind:
    """Each kind of ledger."""
    return LedgerKind(request.param, tmp_path)


@pytest.fixture
def die_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that lets the process die once.

    It takes the moment: ``before post``, ``after post``, ``before poll`` or ``after poll``.
    """

    def set_moment(moment: str) -> None:
        original_send = RequestsTransport.send
        moments = [moment]

        def send(self: RequestsTransport, request: Any) -> Any:
            kind = "poll" if request.method == "GET" else "post"
            if f"before {kind}" in moments:
                moments.clear()
                raise Died
            response = original_send(self, request)
            if f"after {kind}" in moments:
                moments.clear()
                raise Died
            return response

        monkeypatch.setattr(RequestsTransport, "send", send)

    return set_moment
