"""The records, folders and task states in Airflow's metadata database.

Only commands on a machine that may read the database use it. Airflow has no public interface for
this. The models have had these columns since Airflow 3.0, the task state store since 3.3.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.delivered_answer import (
    ANSWER_KEY_PREFIX,
    DeliveredAnswer,
    parse_answer,
)
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER_XCOM
from airflow_provider_flux.ledger.record import Record, parse_record
from airflow_provider_flux.ledger.record_files import is_record_of
from airflow_provider_flux.ledger.record_task_state import RECORD_KEY_PREFIX

#: States in which a task lands its image by itself. A task that waits for a slot or for its next
#: try may come too late.
_ACTIVE_STATES = frozenset({"running", "restarting", "deferred"})


class MetadataDbRecordStore:
    """The records of one task instance in its task state store, read from outside of the task.

    :param dag_id: id of the DAG.
    :param run_id: id of the DAG run.
    :param task_id: id of the task.
    :param map_index: map index of the task; -1 if the task is not mapped.
    """

    def __init__(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
        self._ids = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}

    def is_of(self, owner: TaskIdentity) -> bool:
        """Whether the store is that of a task instance.

        :param owner: the task instance, in any of its tries.
        """
        return self._ids == owner.model_dump(include=set(self._ids))

    def location(self, number: int | str) -> str:
        """Return the key of a record and its task, for a message.

        :param number: number of the record.
        """
        task = "/".join(str(self._ids[name]) for name in ("dag_id", "run_id", "task_id"))
        map_index = self._ids["map_index"]
        index = "" if map_index == -1 else f"[{map_index}]"
        return f"{RECORD_KEY_PREFIX}{number} of {task}{index}"

    def uri(self, number: int) -> None:
        """Return ``None``: a triggerer cannot reach the store.

        :param number: number of the record.
        """

    def read(self, number: int) -> Record | None:
        """Return a record; ``None`` if it is gone.

        :param number: number of the record.
        :raises FluxLedgerError: if it cannot be read.
        """
        with create_session() as session:
            row = session.scalar(self._select(number))
            if row is None:
                return None
            return parse_record(_decode(row.value), self.location(number))

    def read_answer(self, number: int) -> DeliveredAnswer | None:
        """Return the answer that a webhook delivered for a record; ``None`` if there is none.

        :param number: number of the record.
        """
        with create_session() as session:
            row = session.scalar(self._select(number, ANSWER_KEY_PREFIX))
            return None if row is None else parse_answer(_decode(row.value))

    def keep_answer(self, number: int, answer: DeliveredAnswer) -> bool:
        """Keep the answer that a webhook delivered for a record. The first one counts.

        :param number: number of the record.
        :param answer: the answer.
        :return: whether it was kept.
        """
        from airflow.models.task_state_store import TaskStateStoreModel

        with create_session() as session:
            record = session.scalar(self._select(number))
            if record is None or session.scalar(self._select(number, ANSWER_KEY_PREFIX)):
                return False
            session.add(
                TaskStateStoreModel(
                    **self._ids,
                    dag_run_id=record.dag_run_id,
                    key=f"{ANSWER_KEY_PREFIX}{number}",
                    value=answer.model_dump_json(),
                    expires_at=record.expires_at,
                )
            )
            return True

    def update(self, number: int, record: Record) -> None:
        """Replace a record.

        :param number: number of the record.
        :param record: its new content.
        :raises FluxStorageError: if it is gone.
        """
        with create_session() as session:
            row = session.scalar(self._select(number))
            if row is None:
                raise FluxStorageError(f"The record {self.location(number)} is gone.")
            row.value = json.dumps(record.as_json())

    def _select(self, number: int, prefix: str = RECORD_KEY_PREFIX) -> Any:
        from airflow.models.task_state_store import TaskStateStoreModel

        key = f"{prefix}{number}"
        return select(TaskStateStoreModel).filter_by(**self._ids, key=key)


def read_values(
    dag_id: str | None, run_id: str | None
) -> Iterator[tuple[MetadataDbRecordStore, int, Any]]:
    """Yield the records in the task state stores: the store, the number and the stored value.

    :param dag_id: id of the DAG; ``None`` for all DAGs.
    :param run_id: id of the DAG run; ``None`` for all runs.
    """
    try:
        from airflow.models.task_state_store import TaskStateStoreModel as Model
    except ImportError:  # before Airflow 3.3
        return
    query = select(Model).where(Model.key.like(f"{RECORD_KEY_PREFIX}%")).order_by(Model.id)
    with create_session() as session:
        for row in session.scalars(_restrict(query, Model, dag_id, run_id)):
            number = row.key.removeprefix(RECORD_KEY_PREFIX)
            if number.isdecimal():
                store = MetadataDbRecordStore(row.dag_id, row.run_id, row.task_id, row.map_index)
                yield store, int(number), _decode(row.value)


@dataclass(frozen=True)
class StoredValue:
    """A record in the task state stores, as Airflow keeps it.

    :param id: id of its row.
    :param location: key of the record and its task, for a message.
    :param owner: the task instance.
    :param json: the record as JSON.
    """

    id: int
    location: str
    owner: TaskIdentity
    json: bytes


def list_values() -> list[tuple[int, str]]:
    """Return the rows of all records in the task state stores: id, and time of the last change."""
    try:
        from airflow.models.task_state_store import TaskStateStoreModel as Model
    except ImportError:  # before Airflow 3.3
        return []
    query = select(Model.id, Model.updated_at).where(Model.key.like(f"{RECORD_KEY_PREFIX}%"))
    with create_session() as session:
        return [(number, str(changed)) for number, changed in session.execute(query)]


def read_stored(ids: Collection[int]) -> list[StoredValue]:
    """Return records of the task state stores.

    :param ids: ids of their rows, some hundred at most.
    :return: the records that are still there.
    """
    if not ids:
        return []
    from airflow.models.task_state_store import TaskStateStoreModel as Model

    with create_session() as session:
        rows = session.scalars(select(Model).where(Model.id.in_(ids)))
        return [_as_stored_value(row) for row in rows]


def _as_stored_value(row: Any) -> StoredValue:
    store = MetadataDbRecordStore(row.dag_id, row.run_id, row.task_id, row.map_index)
    number = row.key.removeprefix(RECORD_KEY_PREFIX)
    owner = TaskIdentity(
        dag_id=row.dag_id, run_id=row.run_id, task_id=row.task_id, map_index=row.map_index
    )
    value = _decode(row.value)
    text = value if isinstance(value, str) else json.dumps(value)
    location = store.location(number)
    return StoredValue(row.id, location, owner, text.encode(errors="replace"))


def ledger_folders_by_dag() -> set[tuple[str, str]]:
    """Return the folders in which tasks keep records, each with the id of a DAG that does so."""
    from airflow.models.xcom import XComModel

    query = select(XComModel.dag_id, XComModel.value).where(XComModel.key == LEDGER_FOLDER_XCOM)
    with create_session() as session:
        rows = [(dag_id, _decode(value)) for dag_id, value in session.execute(query)]
    return {(dag_id, folder) for dag_id, folder in rows if isinstance(folder, str)}


def ledger_folders_of(dag_id: str | None) -> set[str]:
    """Return the folders in which the tasks of a DAG keep records, by their XComs.

    The XComs of all runs count, because a try that fails early pushes none.

    :param dag_id: id of the DAG; ``None`` for all DAGs.
    """
    from airflow.models.xcom import XComModel

    query = select(XComModel.value).where(XComModel.key == LEDGER_FOLDER_XCOM)
    with create_session() as session:
        values = [_decode(value) for value in session.scalars(_restrict(query, XComModel, dag_id))]
    return {folder for folder in values if isinstance(folder, str)}


def ledger_folders_of_task(owner: TaskIdentity) -> set[str]:
    """Return the folders in which one task keeps its records, by the XComs of all its runs.

    :param owner: a task instance of the task.
    """
    from airflow.models.xcom import XComModel

    query = select(XComModel.value).filter_by(
        dag_id=owner.dag_id, task_id=owner.task_id, key=LEDGER_FOLDER_XCOM
    )
    with create_session() as session:
        values = [_decode(value) for value in session.scalars(query.distinct())]
    return {folder for folder in values if isinstance(folder, str)}


@dataclass(frozen=True)
class TaskFacts:
    """The arguments of a task instance, as Airflow's database shows them.

    :param flux_conn_id: id of its connection to BFL.
    :param output_path: where its images land; ``None`` if it lands none, or if it is not known.
    """

    flux_conn_id: str
    output_path: str | None = None


def find_task_facts(owner: TaskIdentity, uri: str) -> TaskFacts | None:
    """Return the arguments of the task instance whose ledger holds a record.

    A record in a bucket may name any task as its owner. So the task counts only if it keeps its
    records at the URI of this one, by its XCom.

    :param owner: the task instance that the record names.
    :param uri: URI of the record, or of the journal.
    :return: ``None`` if the database does not know the task or its rendered fields, or if its
        records are elsewhere.
    """
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Fields
    from airflow.models.xcom import XComModel

    if None in (owner.dag_id, owner.task_id, owner.run_id):
        return None
    task = {"dag_id": owner.dag_id, "task_id": owner.task_id}
    folders = select(XComModel.value).filter_by(key=LEDGER_FOLDER_XCOM, **task).distinct()
    fields = select(Fields.rendered_fields).filter_by(
        run_id=owner.run_id, map_index=owner.map_index, **task
    )
    with create_session() as session:
        values = [_decode(value) for value in session.scalars(folders)]
        rendered = _decode(session.scalar(fields))
    if not any(isinstance(value, str) and is_record_of(uri, value, owner) for value in values):
        return None
    return _read_facts(rendered)


def _read_facts(rendered: Any) -> TaskFacts | None:
    """Return the arguments in rendered fields. Airflow shows a secret as asterisks."""
    known = {
        name: value
        for name, value in (rendered.items() if isinstance(rendered, dict) else ())
        if isinstance(value, str) and "***" not in value
    }
    if "flux_conn_id" not in known:
        return None
    return TaskFacts(known["flux_conn_id"], known.get("output_path"))


def has_active_task(owner: TaskIdentity) -> bool:
    """Whether the task of a record runs, or waits on the triggerer: it lands its image by itself.

    :param owner: the task instance.
    """
    from airflow.models.taskinstance import TaskInstance

    ids = {
        "dag_id": owner.dag_id,
        "run_id": owner.run_id,
        "task_id": owner.task_id,
        "map_index": owner.map_index,
    }
    with create_session() as session:
        states = list(session.scalars(select(TaskInstance.state).filter_by(**ids)))
    return any(state in _ACTIVE_STATES for state in states)


def _restrict(query: Any, model: Any, dag_id: str | None, run_id: str | None = None) -> Any:
    if dag_id is not None:
        query = query.where(model.dag_id == dag_id)
    if run_id is not None:
        query = query.where(model.run_id == run_id)
    return query


def _decode(value: Any) -> Any:
    """Decode a column of JSON, which some databases and versions return as text."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
