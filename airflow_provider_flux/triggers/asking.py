"""What a trigger asks Airflow about its own task. Both calls block: not on the event loop."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import XCom


def state_of_task(ti: Any) -> str | None:
    """Return the state of the task that a trigger runs for; ``None`` if there is none, or Airflow does not say."""
    if ti is None:
        return None
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    by_run = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return next(iter(by_run.get(ti.run_id, {}).values()), None)


def has_returned(ti: Any, request_id: str) -> bool:
    """Whether the task has handed on this very generation."""
    found = XCom.get_one(
        key="return_value",
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
    )
    return isinstance(found, dict) and found.get("request_id") == request_id
