"""A task with its rendered template fields, and its context, for a command that runs no task."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError
from airflow_provider_flux.cli.dag_files import load_dag

#: Run that a plan without ``--run-id`` is about. It does not exist.
PLANNED_RUN_ID = "flux-plan"
_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


@dataclass(frozen=True)
class PlannedRun:
    """The DAG run of a plan.

    :param run_id: id of an existing run; ``None`` for one that does not exist yet.
    :param logical_date: logical date of a run that does not exist yet; ``None`` for now.
    :param conf: conf of a run that does not exist yet.
    :param map_index: map index of the task; -1 for a task that is not mapped.
    """

    run_id: str | None = None
    logical_date: Any = None
    conf: dict[str, Any] | None = None
    map_index: int = -1


def render_task(dag_id: str, task_id: str, run: PlannedRun) -> tuple[Any, Any]:
    """Load a task and render its template fields.

    :param dag_id: id of the DAG.
    :param task_id: id of the task.
    :param run: the DAG run.
    :return: the operator, and the context of the task.
    :raises FluxRequestError: if there is no such DAG, task or run, or a field cannot be rendered.
    """
    dag = load_dag(dag_id)
    if task_id not in dag.task_dict:
        known = ", ".join(sorted(dag.task_dict)[:20])
        raise FluxRequestError(f"The DAG {dag_id!r} has no task {task_id!r}. It has {known}.")
    task = dag.get_task(task_id)
    is_mapped = task.is_mapped or task.get_closest_mapped_task_group() is not None
    if is_mapped != (run.map_index >= 0):
        remedy = "Add --map-index" if is_mapped else "Leave --map-index out"
        raise FluxRequestError(
            f"The task {task_id!r} is {'mapped' if is_mapped else 'not mapped'}. {remedy}."
        )
    context = _build_context(task, run)
    try:
        task.render_template_fields(context)
    except (FluxRequestError, FluxConfigurationError):
        raise
    except Exception as error:
        raise FluxRequestError(
            f"The template fields of {dag_id}.{task_id} cannot be rendered "
            f"({type(error).__name__}: {error}). XComs, and what else a run has, need --run-id."
        ) from None
    return context["task"], context


def _build_context(task: Any, run: PlannedRun) -> Any:
    from airflow.sdk.api.datamodels import _generated

    context_class: Any = _generated.TIRunContext
    dag_run, tries = _find_run(task, run)
    instance_class = _instance_class()
    server = context_class.model_construct(
        dag_run=dag_run,
        max_tries=tries["max_tries"],
        task_reschedule_count=0,
        variables=[],
        connections=[],
        upstream_map_indexes=None,
        xcom_keys_to_clear=[],
    )
    ti = instance_class.model_construct(
        id=uuid.uuid4(),
        task=task,
        dag_id=task.dag_id,
        task_id=task.task_id,
        run_id=dag_run.run_id,
        map_index=run.map_index,
        hostname="",
        **tries,
        _ti_context_from_server=server,
    )
    context = ti.get_template_context()
    context.pop("task_state_store", None)  # it asks a server, and a plan has none
    return context


def _find_run(task: Any, run: PlannedRun) -> tuple[Any, dict[str, int]]:
    """Return the DAG run, and the tries of the task in it."""
    import pendulum
    from airflow.sdk.api.datamodels import _generated

    run_class: Any = _generated.DagRun
    retries = int(task.retries or 0)
    if run.run_id is None:
        date = run.logical_date or pendulum.now("UTC")
        values = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end"), date)
        values |= {"run_after": date, "start_date": date}
        run_id, conf, run_type = PLANNED_RUN_ID, run.conf or {}, "manual"
        tries = {"try_number": 1, "max_tries": retries}
    else:
        row, tries = _read_run(task, run, retries)
        names = ("logical_date", "data_interval_start", "data_interval_end")
        values = {name: getattr(row, name) for name in (*names, "run_after", "start_date")}
        run_id, conf, run_type = row.run_id, row.conf or {}, str(row.run_type)
    dag_run = run_class.model_construct(
        dag_id=task.dag_id,
        run_id=run_id,
        run_type=run_type,
        conf=conf,
        end_date=None,
        consumed_asset_events=[],
        partition_key=None,
        partition_date=None,
        triggering_user_name=None,
        state="running",
        **values,
    )
    return dag_run, tries


def _read_run(task: Any, run: PlannedRun, retries: int) -> tuple[Any, dict[str, int]]:
    """Read the run and the task instance. One that has ended counts as cleared."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    ids = {"dag_id": task.dag_id, "run_id": run.run_id}
    with create_session() as session:
        row = session.scalar(select(DagRun).filter_by(**ids))
        if row is None:
            raise FluxRequestError(
                f"The DAG {task.dag_id!r} has no run {run.run_id!r}. Leave --run-id out to plan a "
                "run that does not exist yet."
            )
        found = select(TaskInstance.state, TaskInstance.try_number, TaskInstance.max_tries)
        found = found.where(
            TaskInstance.dag_id == task.dag_id,
            TaskInstance.run_id == run.run_id,
            TaskInstance.task_id == task.task_id,
            TaskInstance.map_index == run.map_index,
        )
        instance = session.execute(found).first()
        session.expunge(row)
    state, try_number, max_tries = instance or (None, 0, retries)
    if str(getattr(state, "value", state)) in _ENDED:
        max_tries = try_number + retries
    return row, {"try_number": try_number + 1, "max_tries": max_tries}


def _instance_class() -> Any:
    """Return the class of Airflow's task instances, which reads XComs from the database here."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    class PlannedInstance(RuntimeTaskInstance):
        def xcom_pull(self, task_ids: Any = None, *_: Any, **options: Any) -> Any:
            return _pull_xcom(self, task_ids, **options)

        def xcom_push(self, *_: Any, **__: Any) -> None:
            """Push nothing: a plan writes nothing."""

    return PlannedInstance


def _pull_xcom(
    ti: Any,
    task_ids: Any,
    *,
    dag_id: str | None = None,
    key: str = "return_value",
    default: Any = None,
    map_indexes: Any = None,
    run_id: str | None = None,
    **_: Any,
) -> Any:
    """Return XComs of an existing run, as ``ti.xcom_pull`` does.

    :raises FluxRequestError: if the plan is about no existing run.
    """
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    run_id = run_id or ti.run_id
    if run_id == PLANNED_RUN_ID:
        raise FluxRequestError(
            "The task needs an XCom of another task. Add --run-id with a run in which that task "
            "has ended."
        )
    is_one = task_ids is None or isinstance(task_ids, str)
    names = [task_ids or ti.task_id] if is_one else list(task_ids)
    indexes = map_indexes if isinstance(map_indexes, (int, list, tuple, range)) else None
    query = select(XComModel.task_id, XComModel.map_index, XComModel.value).where(
        XComModel.dag_id == (dag_id or ti.dag_id),
        XComModel.run_id == run_id,
        XComModel.key == key,
        XComModel.task_id.in_(names),
    )
    if isinstance(indexes, int):
        query = query.where(XComModel.map_index == indexes)
    elif indexes is not None:
        query = query.where(XComModel.map_index.in_(list(indexes)))
    with create_session() as session:
        found = session.execute(query.order_by(XComModel.task_id, XComModel.map_index)).all()
    values = [_read_value(row) for row in found]
    if not values:
        return default
    is_single = is_one and (isinstance(indexes, int) or [row[1] for row in found] == [-1])
    return values[0] if is_single else values


def _read_value(row: Any) -> Any:
    from airflow.sdk.execution_time.xcom import XCom

    class Stored:
        key, value = "", row[2]

    return XCom.deserialize_value(Stored)
