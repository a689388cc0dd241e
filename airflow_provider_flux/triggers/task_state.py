"""Questions of a trigger to Airflow about its own task. Both calls block."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import XCom


def read_task_state(ti: Any) -> str | None:
    """Return the state of a task instance.

    Call it on a thread: it blocks.

    :param ti: ``task_instance`` of the trigger, or ``None``.
    :return: the state; ``None`` without a task instance, or if Airflow does not know its state.
    """
    if ti is None:
        return None
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states_by_run = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return next(iter(states_by_run.get(ti.run_id, {}).values()), None)


def has_returned(ti: Any, request_id: str) -> bool:
    """Whether a task instance returned this generation as its XCom.

    Call it on a thread: it blocks.

    :param ti: ``task_instance`` of the trigger.
    :param request_id: id that BFL gave the generation.
    """
    returned = XCom.get_one(
        key="return_value",
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
    )
    return isinstance(returned, dict) and returned.get("request_id") == request_id
