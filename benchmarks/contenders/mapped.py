"""Mapped tasks on a real Airflow: PostgreSQL, all components, LocalExecutor, a pool as large as the quota."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.usage import cpu_of, memory_of
from tests.support.cluster.harness import Cluster

ROOT = Path(__file__).parents[2]
LIMIT = 24
MEMORY_EVERY = 5.0
#: What Airflow has by default. Tests have it quicker, so that on a busy machine a scheduler passes for dead.
DEFAULTS = {
    "SCHEDULER__JOB_HEARTBEAT_SEC": "5",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "300",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
    "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "15",
    "TRIGGERER__JOB_HEARTBEAT_SEC": "5",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
}
DAGS = """
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from benchmarks.contenders.documented import generate_alone
from benchmarks.contenders.textbook import TextbookOperator

COUNT, URL, FOLDER = {count}, {url!r}, {folder!r}
many = {{"schedule": None, "max_active_tasks": 999, "max_active_runs": 1, "default_args": {{"retries": 0}}}}

with DAG("python", **many):
    PythonOperator.partial(task_id="image", python_callable=generate_alone, pool="flux").expand(
        op_args=[[URL, f"python {{n}}", f"{{FOLDER}}/python/{{n}}.jpg"] for n in range(COUNT)]
    )
with DAG("deferrable", **many):
    TextbookOperator.partial(task_id="image", url=URL, pool="flux").expand_kwargs(
        [{{"prompt": f"deferrable {{n}}", "path": f"{{FOLDER}}/deferrable/{{n}}.jpg"}} for n in range(COUNT)]
    )
"""


@dataclass(frozen=True)
class Run:
    """What a run took: CPU seconds and peak MiB of all processes of the deployment, its state, its task states."""

    cpu: float
    peak: float
    state: str
    failed: int


@dataclass(frozen=True)
class Mapped:
    """A cluster with the DAGs ``python`` and ``deferrable``."""

    cluster: Cluster

    def run(self, dag_id: str, timeout: float) -> Run:
        """Run a DAG to its end, and measure the deployment meanwhile."""
        self.cluster.wait_parsed(dag_id)
        before = cpu_of(self._processes())
        with self._watched() as peaks:
            run = self.cluster.run_dag(dag_id)
            state = self.cluster.wait(run, timeout)
        rows = self.cluster.task_instances(run)
        return Run(
            cpu_of(self._processes()) - before,
            max(peaks),
            state,
            sum(row.state != "success" for row in rows),
        )

    def _processes(self) -> set[psutil.Process]:
        components = [*self.cluster.components, self.cluster.postgres]
        return set().union(*(component.family() for component in components))

    @contextmanager
    def _watched(self) -> Iterator[list[float]]:
        """Look at the memory now and then; often would cost what is to be measured."""
        peaks, over = [0.0], threading.Event()

        def watch() -> None:
            while not over.wait(MEMORY_EVERY):
                peaks.append(memory_of(self._processes()))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield peaks
        finally:
            over.set()
            thread.join()


@contextmanager
def mapped(home: Path, folder: Path, url: str, count: int) -> Iterator[Mapped]:
    """Start a cluster whose tasks land below ``folder``."""
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "contenders.py").write_text(
        DAGS.format(count=count, url=url, folder=str(folder))
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {
        "PYTHONPATH": path,
        **{f"AIRFLOW__{name}": value for name, value in DEFAULTS.items()},
    }
    sys.stderr.write("starting Airflow ...\n")
    with Cluster(home, home / "dags", parallelism=LIMIT + 8, env=environment) as cluster:
        cluster.create_pool("flux", LIMIT)
        yield Mapped(cluster)
