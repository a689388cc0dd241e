"""Tries of one batch, as Airflow makes them, and the files that they write."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.operators.batch import SUMMARY_XCOM, FluxGenerateBatchOperator
from tests.support.task_tries import Task

#: Small images, which the emulator draws quickly.
SMALL = {"width": 256, "height": 256}
#: Durations of a batch that are no arguments of its operator. A test gives them as if they were.
TIMINGS = ("live_interval", "manifest_interval", "poll_interval", "grace")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, hurry: None) -> None:
    """Tell a batch that images take 0.3 s here, and shorten its waits."""
    from airflow_provider_flux.batch import run_setup
    from airflow_provider_flux.batch.execution import context, land
    from airflow_provider_flux.batch.schedule import circuit_breaker

    monkeypatch.setattr(context, "typical_seconds", lambda model: 0.3)
    monkeypatch.setattr(land, "_RETRY_SECONDS", (0.05, 0.1, 0.2))
    monkeypatch.setattr(run_setup, "OWNER_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(circuit_breaker, "_BACKOFF_SECONDS", 0.05)


@pytest.fixture
def emulated(connect: Callable[..., None]) -> Iterator[Callable[..., EmulatorServer]]:
    """Start an emulator for this test alone, and connect to it."""
    running: list[EmulatorServer] = []

    def start(**config: Any) -> EmulatorServer:
        extra = config.pop("extra", {})
        server = EmulatorServer(EmulatorConfig(**{"latency": 0.2, **config}))
        server.start()
        running.append(server)
        connect(server.url, **extra)
        return server

    yield start
    for server in running:
        server.stop()


@dataclass
class Batch(Task):
    """One batch task. ``arguments`` are those of the operator in its next try.

    :ivar summary: summary that the last try pushed to XCom; ``None`` if it pushed none.
    """

    summary: dict[str, Any] | None = None
    ti: Any = field(default=None, repr=False)

    def retry(self, **changes: Any) -> dict[str, Any]:
        """Make the next try, or the first one, and return its summary."""
        self.arguments |= changes
        self.try_number += 1
        operator, context = self.new_operator(), self.context()
        self.ti = context["ti"]
        try:
            summary = operator.execute(context)
        finally:
            self.summary = self.ti.xcoms.get(SUMMARY_XCOM)
        assert summary == self.summary
        return json.loads(json.dumps(summary))

    def fail(self, error: type[BaseException], match: str | None = None, **changes: Any) -> str:
        """Make the next try, which fails with an error, and return its message."""
        with pytest.raises(error, match=match) as caught:
            self.retry(**changes)
        return str(caught.value)

    def cleared(self) -> Batch:
        """Clear the finished task, as a user does."""
        self.max_tries = self.try_number + self.retries
        return self

    def new_operator(self) -> Any:
        """Return the operator of a try."""
        arguments = {"task_id": "hero", "defaults": SMALL, "poll_interval": 0.1, **self.arguments}
        timings = {name: arguments.pop(name) for name in TIMINGS if name in arguments}
        operator = FluxGenerateBatchOperator(**arguments)
        operator._timings = timings
        self.operator = operator  # type: ignore[assignment]
        return operator

    @property
    def folder(self) -> Path:
        """The local folder that the images land in."""
        return Path(str(self.arguments["output_path"]).partition("{")[0])

    def manifest(self) -> list[dict[str, Any]]:
        """Return the rows of the manifest."""
        return [
            json.loads(line)
            for line in (self.folder / "manifest-hero.jsonl").read_text().splitlines()
        ]

    def outcomes(self) -> list[str]:
        """Return the outcomes of the rows, in the order of the input."""
        return [row["outcome"] for row in self.manifest()]

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each outcome."""
        return dict(Counter(self.outcomes()))

    def segments(self) -> list[Path]:
        """Return the segments of the journal."""
        return sorted(self.folder.glob("_flux/ledger/**/*.rows/*.jsonl"))

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the entries of the journal."""
        for segment in self.segments():
            yield from map(json.loads, segment.read_text().splitlines()[1:])


def batch(folder: Path, requests: Any, **arguments: Any) -> Batch:
    """Return a batch that lands in a local folder."""
    return Batch(
        {"requests": requests, "output_path": f"{folder}/out/{{key}}.{{ext}}", **arguments}
    )


def prompts(count: int, fault: str = "", start: int = 0) -> list[str]:
    """Return distinct prompts, all with the same fault."""
    return [
        f"fox {number}{f' [[fault:{fault}]]' if fault else ''}"
        for number in range(start, start + count)
    ]
