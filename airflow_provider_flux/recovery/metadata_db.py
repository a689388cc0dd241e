"""What Airflow's metadata database knows of the records. For commands on a machine that may read it.

Airflow has no public interface for this; the models have had these columns since 3.0, the task state store since 3.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record import Record, parse_record
from airflow_provider_flux.ledger.record_store import RECORD_KEY_PREFIX
from airflow_provider_flux.ledger.task_ledger import LEDGER_FOLDER_XCOM

#: States in which a task collects by itself. One that waits for a slot, or for its next try, may come too late.
_AT_WORK = frozenset({"running", "restarting", "deferred"})


class MetadataDbRecordStore:
    """The records of one task instance in the task state store, from outside of its task."""

    def __init__(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
        self._ids = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}

    def location(self, number: int) -> str:
        """Return where a record is, for a message."""
        index = "" if self._ids["map_index"] == -1 else f"[{self._ids['map_index']}]"
        return f"{RECORD_KEY_PREFIX}{number} of {self._ids['dag_id']}/{self._ids['run_id']}/{self._ids['task_id']}{index}"

    def read(self, number: int) -> Record | None:
        """Return a record, ``None`` if it is gone."""
        from airflow.models.task_state_store import TaskStateStoreModel

        with create_session() as session:
            row = session.scalar(
                select(TaskStateStoreModel).filter_by(
                    **self._ids, key=f"{RECORD_KEY_PREFIX}{number}"
                )
            )
            return None if row is None else parse_record(_decoded(row.value), self.location(number))

    def update(self, number: int, record: Record) -> None:
        """Replace a record."""
        from airflow.models.task_state_store import TaskStateStoreModel

        with create_session() as session:
            row = session.scalar(
                select(TaskStateStoreModel).filter_by(
                    **self._ids, key=f"{RECORD_KEY_PREFIX}{number}"
                )
            )
            if row is None:
                raise FluxStorageError(f"The record {self.location(number)} is gone.")
            row.value = json.dumps(record.as_json())


def stored_records(
    dag_id: str | None, run_id: str | None
) -> Iterator[tuple[MetadataDbRecordStore, int, Any]]:
    """Yield the records in the task state store, as they are stored."""
    try:
        from airflow.models.task_state_store import TaskStateStoreModel
    except ImportError:  # before Airflow 3.3
        return
    model = TaskStateStoreModel
    query = _of(select(model).where(model.key.like(f"{RECORD_KEY_PREFIX}%")), model, dag_id, run_id)
    with create_session() as session:
        for row in session.scalars(query.order_by(model.id)):
            number = row.key.removeprefix(RECORD_KEY_PREFIX)
            if number.isdecimal():
                home = MetadataDbRecordStore(row.dag_id, row.run_id, row.task_id, row.map_index)
                yield home, int(number), _decoded(row.value)


def folders_of(dag_id: str | None) -> set[str]:
    """Return the folders in which tasks said that they keep records.

    A try that fails early leaves no word of its own: other runs of the DAG say it, too.
    """
    from airflow.models.xcom import XComModel

    query = _of(
        select(XComModel.value).where(XComModel.key == LEDGER_FOLDER_XCOM), XComModel, dag_id, None
    )
    with create_session() as session:
        found = [_decoded(value) for value in session.scalars(query)]
    return {folder for folder in found if isinstance(folder, str)}


def has_running_task(owner: TaskIdentity) -> bool:
    """Whether the task of a record runs, or waits on the triggerer: it collects by itself then."""
    from airflow.models.taskinstance import TaskInstance

    wanted = {
        "dag_id": owner.dag_id,
        "run_id": owner.run_id,
        "task_id": owner.task_id,
        "map_index": owner.map_index,
    }
    with create_session() as session:
        states = list(session.scalars(select(TaskInstance.state).filter_by(**wanted)))
    return any(state in _AT_WORK for state in states)


def _of(query: Any, model: Any, dag_id: str | None, run_id: str | None) -> Any:
    if dag_id is not None:
        query = query.where(model.dag_id == dag_id)
    return query if run_id is None else query.where(model.run_id == run_id)


def _decoded(value: Any) -> Any:
    """Return what a column holds, which is JSON as text or decoded already, by version and database."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
