"""Run an operator through all its phases, with its real trigger, as Airflow does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from airflow.providers.common.compat.module_loading import import_string
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import BaseOperator

#: Arguments that make a task wait on the worker, on the triggerer, or on one after the other.
WAYS: dict[str, dict[str, Any]] = {
    "sync": {"deferrable": False},
    "deferred": {"deferrable": True, "inline_wait": 0},
    "between": {"deferrable": True, "inline_wait": 0.3},
}


class FakeTaskInstance:
    """The parts of a task instance that operators use: map index and XComs."""

    def __init__(self, map_index: int) -> None:
        self.map_index = map_index
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert map_indexes == self.map_index
        return self.xcoms.get(key)


def new_context(map_index: int = -1) -> Any:
    """Return the parts of a task's context that operators use."""
    return {"ti": FakeTaskInstance(map_index)}


def run_operator(operator: BaseOperator, **kwargs: Any) -> Any:
    """Execute an operator, and resume it with the event of its trigger if it defers."""
    task_context = new_context(**kwargs)
    try:
        return operator.execute(task_context)
    except TaskDeferred as deferred:
        event = asyncio.run(run_trigger(deferred.trigger))
        kwargs = json.loads(json.dumps(deferred.kwargs or {}))
        return operator.resume_execution(
            deferred.method_name, {**kwargs, "event": event}, task_context
        )


async def run_trigger(trigger: Any) -> dict[str, Any]:
    """Run a trigger as Airflow rebuilds it, and return its event as Airflow stores it."""
    path, kwargs = trigger.serialize()
    rebuilt = import_string(path)(**json.loads(json.dumps(kwargs)))
    events = [event.payload async for event in rebuilt.run()]
    assert len(events) == 1
    event: dict[str, Any] = json.loads(json.dumps(events[0]))
    return event
