"""A real Airflow for tests: ``with Cluster(tmp_path, dags_folder) as cluster: ...``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.cluster.deployment import Deployment
from tests.support.cluster.processes import wait_until

FINISHED = frozenset({"success", "failed"})

PARSED = """
    select 1 from dag join serialized_dag using (dag_id) where dag_id = :dag_id and not is_stale
"""
RUN_STATE = "select state from dag_run where dag_id = :dag_id and run_id = :run_id"
TASK_INSTANCES = """
    select task_id, map_index, state, try_number, max_tries, pid, hostname, start_date, end_date,
           duration
    from task_instance where dag_id = :dag_id and run_id = :run_id order by task_id, map_index
"""
TRIGGERS = """
    select t.id, t.classpath, t.kwargs, t.created_date, t.triggerer_id, job.unixname,
           ti.dag_id, ti.run_id, ti.task_id, ti.map_index
    from trigger t
    left join job on job.id = t.triggerer_id
    left join task_instance ti on ti.trigger_id = t.id
    order by t.id
"""
XCOM = """
    select value from xcom
    where dag_id = :dag_id and run_id = :run_id and task_id = :task_id
      and map_index = :map_index and key = :key
"""


@dataclass(frozen=True)
class DagRun:
    """Identifies one run of a DAG."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """Its path in the REST API."""
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"


@dataclass(frozen=True)
class TaskRow:
    """A task instance in the metadata database; ``state`` is None before it is scheduled."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    max_tries: int
    pid: int | None
    hostname: str | None
    start_date: datetime | None
    end_date: datetime | None
    duration: float | None


@dataclass(frozen=True)
class TriggerRow:
    """A stored trigger, with the name of its triggerer and the task that waits for it."""

    id: int
    classpath: str
    kwargs: str
    created_date: datetime
    triggerer_job: int | None
    triggerer: str | None
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None


class Cluster(Deployment):
    """The actions and questions of tests: actions use the REST API, questions the database."""

    def run_dag(
        self, dag_id: str, conf: dict[str, Any] | None = None, run_id: str | None = None
    ) -> DagRun:
        """Wait until the DAG is parsed, unpause it and trigger a run."""
        self.wait_parsed(dag_id)
        self.rest.patch(f"/dags/{dag_id}", {"is_paused": False})
        body = {"logical_date": None, "conf": conf or {}, "dag_run_id": run_id}
        return DagRun(dag_id, self.rest.post(f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def wait_parsed(self, dag_id: str, timeout: float = 180) -> None:
        """Block until the scheduler can run the DAG; a timeout reports the import errors."""
        if not wait_until(lambda: bool(self.sql(PARSED, dag_id=dag_id)), timeout):
            errors = self.sql("select filename, stacktrace from import_error")
            raise TimeoutError(
                f"DAG {dag_id} not parsed after {timeout} s; import errors: {errors}"
            )

    def wait(self, run: DagRun, timeout: float = 300, states: Collection[str] = FINISHED) -> str:
        """Block until the run is in one of the states, and return that state."""
        if not wait_until(lambda: self.run_state(run) in states, timeout):
            down = [component.name for component in self.components if not component.running]
            rows = self.task_instances(run)
            tasks = [(row.task_id, row.map_index, row.state) for row in rows]
            raise TimeoutError(
                f"{run} is {self.run_state(run)} after {timeout} s; "
                f"components down: {down or 'none'}; tasks: {tasks}"
            )
        return self.run_state(run)

    def wait_task(
        self,
        run: DagRun,
        task_id: str,
        state: str | None,
        *,
        map_index: int = -1,
        timeout: float = 240,
    ) -> TaskRow:
        """Block until a task is in the state, deferred for example, and return its row."""
        expected = (task_id, map_index, state)

        def matching_rows() -> list[TaskRow]:
            rows = self.task_instances(run)
            return [row for row in rows if (row.task_id, row.map_index, row.state) == expected]

        if not wait_until(lambda: bool(matching_rows()), timeout):
            raise TimeoutError(
                f"{expected} not seen in {timeout} s, but {self.task_instances(run)}\n{self.dump()}"
            )
        return matching_rows()[0]

    def run_state(self, run: DagRun) -> str:
        """Return the state of the run."""
        ((state,),) = self.sql(RUN_STATE, dag_id=run.dag_id, run_id=run.run_id)
        return str(state)

    def task_instances(self, run: DagRun) -> list[TaskRow]:
        """Return the task instances of the run, by task and map index."""
        rows = self.sql(TASK_INSTANCES, dag_id=run.dag_id, run_id=run.run_id)
        return [TaskRow(*row) for row in rows]

    def trigger_rows(self) -> list[TriggerRow]:
        """Return all stored triggers."""
        return [TriggerRow(*row) for row in self.sql(TRIGGERS)]

    def xcom(
        self, run: DagRun, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return the decoded XCom.

        :raises LookupError: if the task pushed none.
        """
        rows = self.sql(
            XCOM,
            dag_id=run.dag_id,
            run_id=run.run_id,
            task_id=task_id,
            key=key,
            map_index=map_index,
        )
        if not rows:
            raise LookupError(f"no XCom {key} of {task_id}[{map_index}] in {run}")
        return rows[0][0]

    def task_log(self, run: DagRun, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log files of one try: that of the worker, then those of its triggers."""
        folder = Path(f"dag_id={run.dag_id}", f"run_id={run.run_id}", f"task_id={task_id}")
        if map_index >= 0:
            folder /= f"map_index={map_index}"
        paths = [
            path
            for root in self.log_folders
            for path in sorted((root / folder).glob(f"attempt={try_number}.log*"))
        ]
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)

    def sql(self, query: str, **params: Any) -> list[tuple[Any, ...]]:
        """Run a statement with ``:name`` parameters on the metadata database, return its rows."""
        return self.database.sql(query, **params)

    def all_text(self) -> Iterator[tuple[str, str]]:
        """Yield ``(name, content)`` of all log files and table values, where a secret could be.

        All columns of all tables are read, so that no leak is overlooked.
        """
        for path in self.log_files():
            yield (
                str(path.relative_to(self.home)),
                path.read_text(encoding="utf-8", errors="replace"),
            )
        yield from self.database.texts()

    def create_pool(self, name: str, slots: int, include_deferred: bool = True) -> None:
        """Create a pool."""
        self.rest.post(
            "/pools", {"name": name, "slots": slots, "include_deferred": include_deferred}
        )

    def clear(self, run: DagRun, task_id: str, map_index: int | None = None) -> None:
        """Clear a task in any state, as a user does in the UI: all map indexes, or one."""
        target = task_id if map_index is None else [task_id, map_index]
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": run.run_id,
            "task_ids": [target],
        }
        self.rest.post(f"/dags/{run.dag_id}/clearTaskInstances", body)

    def set_state(
        self, run: DagRun, task_id: str, state: str, map_index: int | None = None
    ) -> None:
        """Mark a task as success, failed or skipped, as a user does in the UI."""
        index = "" if map_index is None else f"/{map_index}"
        self.rest.patch(f"{run.path}/taskInstances/{task_id}{index}", {"new_state": state})
