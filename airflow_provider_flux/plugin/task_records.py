"""XComs, states and arguments of the tasks that landed images, from Airflow's database.

Airflow has no public interface for this in the API server. The models have had these columns since
Airflow 3.1.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields as Fields
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import and_, distinct, or_, select
from sqlalchemy.sql import Select

from airflow_provider_flux.gallery.card import CardOrigin

#: XCom keys of a summary, and of what a task returned.
_RETURNED, _SUMMARY = "return_value", "flux_batch"
#: XCom keys of the links that each operator of this package has, subclasses included.
_LINK_KEYS = ("_link_GalleryLink", "_link_LandedImageLink", "_link_ManifestLink")
#: Names of operators, for tasks that have not ended yet and have no link.
_OPERATOR_NAMES = ("Flux%", "\\_Flux%", "@task.flux%")
#: Task instances of one page. A run with more shows the first, and says so.
MAX_TASKS = 2000
#: Texts of Airflow's columns are not longer.
_MAX_ID_CHARACTERS = 250
#: Entries of the cache of serialized DAGs, a few texts each.
_CACHED_TASKS = 512
#: Arguments of a task that name a place.
_PATH_ARGUMENTS = ("output_path", "manifest_path")
#: Task instances whose arguments are one query. Arguments have up to 4096 characters each.
_ARGUMENTS_AT_ONCE = 200


@dataclass(frozen=True)
class TaskRecord:
    """One task instance as the database knows it.

    :param origin: ids of the task instance.
    :param state: its state; ``None`` before it is scheduled.
    :param returned: what it returned; ``None`` if it returned nothing.
    :param summary: the summary of a batch; ``None`` if there is none.
    :param dag_version_id: the version of the DAG that it ran with.
    :param operator: name of its operator.
    """

    origin: CardOrigin
    state: str | None
    returned: Any
    summary: Any
    dag_version_id: UUID | None
    operator: str | None

    @property
    def is_batch(self) -> bool:
        """Whether its operator is a batch, by the name."""
        return "Batch" in (self.operator or "") or "batch" in (self.operator or "")

    @property
    def is_review(self) -> bool:
        """Whether its operator is the review of this package.

        Other operators with such a name may have paid what they returned.
        """
        return self.operator == "FluxReviewOperator"

    @property
    def is_transfer(self) -> bool:
        """Whether its operator lands what another task submitted, by the name."""
        return "ToObjectStorage" in (self.operator or "")


@dataclass(frozen=True)
class TaskRecords:
    """The task instances of one page.

    :param tasks: the records, in the order of the page.
    :param has_more: whether there are more, which the page does not show.
    """

    tasks: Sequence[TaskRecord]
    has_more: bool = False


def find_records(
    dag_id: str,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
) -> TaskRecords:
    """Return the task instances of this package in a DAG, a run or a task.

    The runs of a DAG are in the order of their creation, the latest first.

    :param dag_id: id of the DAG.
    :param run_id: id of the run; ``None`` for all runs.
    :param task_id: id of the task; ``None`` for all tasks.
    :param map_index: map index of the task; ``None`` for all.
    """
    chosen = {"run_id": run_id, "task_id": task_id}
    if not all(map(_is_id, (dag_id, *filter(None, chosen.values())))):
        return TaskRecords(())
    query = _select_tasks().where(TaskInstance.dag_id == dag_id)
    for name, value in chosen.items():
        if value is not None:
            query = query.where(getattr(TaskInstance, name) == value)
    if map_index is not None:
        query = query.where(TaskInstance.map_index == map_index)
    query = query.where(_is_of_flux())
    with create_session() as session:
        rows = session.execute(query.limit(MAX_TASKS + 1)).all()
        tasks = rows[:MAX_TASKS]
        values = _read_xcoms(session, tasks)
    records = [
        TaskRecord(
            origin=CardOrigin(row.dag_id, row.run_id, row.task_id, row.map_index),
            state=row.state,
            returned=values.get((*_ids(row), _RETURNED)),
            summary=values.get((*_ids(row), _SUMMARY)),
            dag_version_id=row.dag_version_id,
            operator=row.operator,
        )
        for row in tasks
    ]
    return TaskRecords(records, has_more=len(rows) > MAX_TASKS)


def find_record(origin: CardOrigin) -> TaskRecord | None:
    """Return the record of one task instance.

    :param origin: its ids.
    :return: ``None`` if there is no such task instance.
    """
    found = find_records(origin.dag_id, origin.run_id, origin.task_id, origin.map_index)
    return found.tasks[0] if found.tasks else None


def find_dags_with_images() -> list[str]:
    """Return the ids of all DAGs that have run a task of this package, in alphabetical order."""
    query = select(distinct(XComModel.dag_id)).where(XComModel.key.in_(_LINK_KEYS))
    with create_session() as session:
        return sorted(session.scalars(query))


def rendered_arguments(origins: Collection[CardOrigin]) -> dict[CardOrigin, Mapping[str, Any]]:
    """Return the arguments of task instances as Airflow rendered them.

    A page asks for those of all its tasks at once, so that it needs no query for each.

    :param origins: the task instances, of one DAG.
    :return: the paths among the arguments by task instance. A task instance is missing if Airflow
        keeps its arguments no longer: it does so for the latest runs only.
    """
    found: dict[CardOrigin, Mapping[str, Any]] = {}
    by_task: dict[tuple[str, str], list[CardOrigin]] = {}
    for origin in origins:
        by_task.setdefault((origin.dag_id, origin.task_id), []).append(origin)
    with create_session() as session:
        for (dag_id, task_id), tasks in by_task.items():
            for start in range(0, len(tasks), _ARGUMENTS_AT_ONCE):
                part = tasks[start : start + _ARGUMENTS_AT_ONCE]
                rows = session.execute(
                    select(Fields.run_id, Fields.map_index, Fields.rendered_fields).where(
                        Fields.dag_id == dag_id,
                        Fields.task_id == task_id,
                        Fields.run_id.in_({origin.run_id for origin in part}),
                        Fields.map_index.in_({origin.map_index for origin in part}),
                    )
                )
                for run_id, map_index, fields in rows:
                    origin = CardOrigin(dag_id, run_id, task_id, map_index)
                    found[origin] = _paths_in(_decode(fields))
    return found


def _paths_in(arguments: Any) -> Mapping[str, Any]:
    """Return the arguments that name a place. Others, such as a prompt, may be long."""
    known = arguments if isinstance(arguments, dict) else {}
    return {name: known[name] for name in _PATH_ARGUMENTS if name in known}


def unrendered_arguments(record: TaskRecord) -> Mapping[str, str]:
    """Return the arguments of a task that are text, as its DAG file has them.

    :param record: the record of the task instance.
    :return: empty if the version of the DAG is gone.
    """
    if record.dag_version_id is None:
        return {}
    return _unrendered_arguments(record.dag_version_id, record.origin.task_id)


@lru_cache(maxsize=_CACHED_TASKS)
def _unrendered_arguments(dag_version_id: UUID, task_id: str) -> Mapping[str, str]:
    query = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == dag_version_id)
    with create_session() as session:
        model = session.scalar(query)
        data = model.data if model is not None else None
    for task in _tasks_in(data):
        if task.get("task_id") == task_id:
            partial = task.get("partial_kwargs")
            arguments = {**task, **(partial if isinstance(partial, dict) else {})}
            paths = _paths_in(arguments)
            return {name: value for name, value in paths.items() if isinstance(value, str)}
    return {}


def _tasks_in(data: Any) -> Iterator[Mapping[str, Any]]:
    dag = data.get("dag") if isinstance(data, dict) else None
    for task in dag.get("tasks", ()) if isinstance(dag, dict) else ():
        fields = task.get("__var") if isinstance(task, dict) else None
        if isinstance(fields, dict):
            yield fields


def _select_tasks() -> Select[Any]:
    columns = ("dag_id", "run_id", "task_id", "map_index", "state", "dag_version_id", "operator")
    return (
        select(*(getattr(TaskInstance, name) for name in columns))
        .join(
            DagRun,
            and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id),
        )
        .order_by(DagRun.id.desc(), TaskInstance.task_id, TaskInstance.map_index)
    )


def _is_of_flux() -> Any:
    """Return the condition for a task of this package, or of a subclass that has ended.

    Sensors land nothing.
    """
    link = select(XComModel.key).where(
        XComModel.dag_id == TaskInstance.dag_id,
        XComModel.run_id == TaskInstance.run_id,
        XComModel.task_id == TaskInstance.task_id,
        XComModel.map_index == TaskInstance.map_index,
        XComModel.key.in_(_LINK_KEYS),
    )
    names = (TaskInstance.operator.like(name, escape="\\") for name in _OPERATOR_NAMES)
    return or_(link.exists(), and_(or_(*names), TaskInstance.operator.not_like("%Sensor")))


def _read_xcoms(session: Any, tasks: Sequence[Any]) -> dict[tuple[Any, ...], Any]:
    """Return the XComs of some task instances of one DAG by ids and key."""
    if not tasks:
        return {}
    wanted = {_ids(row) for row in tasks}
    runs, task_ids = ({row[index] for row in wanted} for index in (1, 2))
    query = select(
        *(getattr(XComModel, name) for name in ("dag_id", "run_id", "task_id", "map_index")),
        XComModel.key,
        XComModel.value,
    ).where(
        XComModel.dag_id == tasks[0].dag_id,
        XComModel.run_id.in_(runs),
        XComModel.task_id.in_(task_ids),
        XComModel.key.in_((_RETURNED, _SUMMARY)),
    )
    if len(wanted) == 1:
        query = query.where(XComModel.map_index == tasks[0].map_index)
    return {
        (*_ids(row), row.key): _decode(row.value)
        for row in session.execute(query)
        if _ids(row) in wanted
    }


def _ids(row: Any) -> tuple[str, str, str, int]:
    return row.dag_id, row.run_id, row.task_id, row.map_index


def _is_id(text: str) -> bool:
    """Whether a text can be an id. PostgreSQL refuses some characters with an error."""
    return 0 < len(text) <= _MAX_ID_CHARACTERS and text.isprintable()


def _decode(value: Any) -> Any:
    """Decode a column of JSON, which some databases and versions return as text."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
