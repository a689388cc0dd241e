"""Task instances in the metadata database of the tests, in the states that a webhook may meet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

from airflow_provider_flux.testing.dag_run import store_dag
from tests.support.airflow_names import AIRFLOW, DagSerialization


def new_task_instance(build: Callable[[], Any]) -> UUID:
    """Store a DAG of one task and a run of it, and return the id of the task instance.

    :param build: makes the task.
    """
    with DAG(f"webhook-{uuid4().hex[:8]}", schedule=None) as dag:
        build()
    store_dag(dag)
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    with create_session() as session:
        run = stored.create_dagrun(
            run_id="manual",
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        (ti,) = run.get_task_instances(session=session)
        return UUID(str(ti.id))


def set_state(task_instance: UUID, state: str) -> None:
    """Set the state of a task instance, without any other effect."""
    with create_session() as session:
        find(task_instance, session).state = state


def defer(task_instance: UUID, deferred: Any) -> None:
    """Let a task instance wait for a trigger, as Airflow does after ``BaseOperator.defer``.

    :param task_instance: its id.
    :param deferred: the ``TaskDeferred`` that the operator raised.
    """
    with create_session() as session:
        trigger = Trigger.from_object(deferred.trigger)
        session.add(trigger)
        session.flush()
        ti = find(task_instance, session)
        ti.state, ti.trigger_id = "deferred", trigger.id
        ti.next_method, ti.next_kwargs = deferred.method_name, {}


def push_xcom(task_instance: UUID, key: str, value: Any) -> None:
    """Store an XCom of a task instance as a worker does."""
    with create_session() as session:
        ti = find(task_instance, session)
        xcom: Any = XComModel  # without serialization, as the API for tasks stores it
        session.merge(
            xcom(
                key=key,
                value=value,
                dag_run_id=ti.dag_run.id,
                dag_id=ti.dag_id,
                task_id=ti.task_id,
                run_id=ti.run_id,
                map_index=ti.map_index,
            )
        )


def find(task_instance: UUID, session: Any) -> Any:
    """Return the row of a task instance."""
    key: Any = task_instance if AIRFLOW >= (3, 2) else str(task_instance)
    return session.scalar(select(TaskInstance).where(TaskInstance.id == key))
