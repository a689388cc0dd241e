"""Tries of one task, as Airflow runs them: with its ids, its try number and its state store."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_flux.ledger.record_task_state import RECORD_KEY_PREFIX
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.run_operator import WAYS, FakeTaskInstance, run_trigger


class Died(BaseException):
    """The end of a process. Nothing in the package catches it."""


class StateStore:
    """A task state store with the methods that a ledger uses. Its JSON outlives a try."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def get(self, key: str) -> Any:
        """Return a value, or None."""
        return json.loads(self.rows[key]) if key in self.rows else None

    def set(self, key: str, value: Any, *, retention: Any) -> None:
        """Store a value."""
        assert retention.days == 30
        self.rows[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        """Remove a value, if there is one."""
        self.rows.pop(key, None)


@dataclass
class Task:
    """One task instance.

    :ivar arguments: arguments of the operator in its next try.
    :ivar started: start of its DAG run.
    :ivar dag_id: its DAG.
    """

    arguments: dict[str, Any]
    retries: int = 3
    state_store: StateStore | None = None
    try_number: int = 0
    max_tries: int = 3
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    warnings: list[str] = field(default_factory=list)
    operator: FluxGenerateOperator | None = None
    dag_id: str = "ads"

    def retry(self, **changes: Any) -> Any:
        """Run the next try, or the first one, and return its XCom."""
        self.arguments |= changes
        self.try_number += 1
        context = self.context()
        operator = self.new_operator()
        try:
            result = operator.execute(context)
        except TaskDeferred as deferred:
            event = asyncio.run(run_trigger(deferred.trigger))
            kwargs = json.loads(json.dumps(deferred.kwargs or {}))
            result = operator.resume_execution(
                deferred.method_name, {**kwargs, "event": event}, context
            )
        return json.loads(json.dumps(result))

    def clear(self, **changes: Any) -> Any:
        """Clear the finished task, and run its next try."""
        self.max_tries = self.try_number + self.retries
        return self.retry(**changes)

    def defer(self) -> tuple[FluxGenerateOperator, TaskDeferred, Any]:
        """Run a try up to its deferral; return operator, deferral and context."""
        self.try_number += 1
        context, operator = self.context(), self.new_operator()
        try:
            operator.execute(context)
        except TaskDeferred as deferred:
            return operator, deferred, context
        raise AssertionError("the task did not defer")

    def new_operator(self) -> FluxGenerateOperator:
        """Return the operator of a try. Its warnings are collected."""
        arguments = {
            "task_id": "hero",
            "poll_interval": 0.1,
            "width": 256,
            "height": 256,
            **WAYS["sync"],
            **self.arguments,
        }
        self.operator = FluxGenerateOperator(**arguments)
        warn = self.operator.log.warning

        def collect(text: str, *values: Any) -> None:
            if "outside of the Task Runner" not in text:
                self.warnings.append(text % values)
            warn(text, *values)

        self.operator.log.warning = collect  # type: ignore[method-assign]
        return self.operator

    def context(self) -> Any:
        """Return the context of the current try."""
        ti = FakeTaskInstance(-1)
        run_id = "manual__2026-11-26T00:00:00+00:00"
        ids = {"dag_id": self.dag_id, "run_id": run_id, "task_id": "hero"}
        for name, value in {
            **ids,
            "try_number": self.try_number,
            "max_tries": self.max_tries,
        }.items():
            setattr(ti, name, value)
        context: dict[str, Any] = {"ti": ti, "dag_run": SimpleNamespace(start_date=self.started)}
        return context | ({"task_state_store": self.state_store} if self.state_store else {})

    def records(self, folder: Path | None = None) -> list[dict[str, Any]]:
        """Return the records in order: those in a local folder, or in the state store."""
        if folder is not None:
            return [
                json.loads(path.read_text())
                for path in sorted(folder.glob("_flux/ledger/**/*.json"))
            ]
        assert self.state_store is not None
        return [
            json.loads(value)
            for key, value in sorted(self.state_store.rows.items())
            if key.startswith(RECORD_KEY_PREFIX)
        ]


def phases(records: list[dict[str, Any]]) -> list[str]:
    """Return the phase of each record."""
    return [record["phase"] for record in records]
