"""Run an operator through all its phases, with its real trigger, as Airflow would."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.module_loading import import_string
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred

#: Where a task waits: on the worker, on the triggerer, or a moment on the one and then on the other.
WAYS: dict[str, dict[str, Any]] = {
    "sync": {"deferrable": False},
    "deferred": {"deferrable": True, "inline_wait": 0},
    "between": {"deferrable": True, "inline_wait": 0.3},
}


def context(map_index: int = -1) -> Any:
    """Return as much of a task's context as the operators use."""
    return {"ti": SimpleNamespace(map_index=map_index)}


def run(operator: BaseOperator, **kwargs: Any) -> Any:
    """Execute; follow a deferral through the serialized trigger and its one event."""
    try:
        return operator.execute(context(**kwargs))
    except TaskDeferred as deferred:
        event = asyncio.run(fire(deferred.trigger))
        return getattr(operator, deferred.method_name)(context(**kwargs), event=event)


async def fire(trigger: Any) -> dict[str, Any]:
    """Rebuild the trigger from what Airflow stores of it, run it, and return the stored form of its event."""
    path, kwargs = trigger.serialize()
    rebuilt = import_string(path)(**json.loads(json.dumps(kwargs)))
    events = [event.payload async for event in rebuilt.run()]
    assert len(events) == 1
    return json.loads(json.dumps(events[0]))
