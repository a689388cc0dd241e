"""Mapped tasks on Airflow with PostgreSQL, LocalExecutor and a pool as large as the quota."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.emulator import Emulator
from benchmarks.usage import cpu_of, memory_of
from tests.support.cluster.harness import Cluster

ROOT = Path(__file__).parents[2]
LIMIT = 24
#: Seconds between two measurements of the memory. Frequent ones would cost CPU themselves.
MEMORY_SECONDS = 5.0
#: Defaults of Airflow. The cluster of the tests has shorter times, with which a scheduler on a busy
#: machine counts as dead.
AIRFLOW_DEFAULTS = {
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

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from benchmarks.contenders.documented import generate_alone
from benchmarks.contenders.textbook import TextbookOperator

COUNT, URL, FOLDER = {count}, {url!r}, {folder!r}
many = {{
    "schedule": None,
    "max_active_tasks": 999,
    "max_active_runs": 1,
    "default_args": {{"retries": 0}},
}}

with DAG("python", **many):
    PythonOperator.partial(task_id="image", python_callable=generate_alone, pool="flux").expand(
        op_args=[[URL, f"python {{n}}", f"{{FOLDER}}/python/{{n}}.jpg"] for n in range(COUNT)]
    )
with DAG("ours", **many):
    FluxGenerateOperator.partial(
        task_id="image",
        model="flux-pro-1.1",
        width=1024,
        height=1024,
        renditions={{}},  # the other ways make none
        pool="flux",
    ).expand_kwargs(
        [
            {{"prompt": f"ours {{n}}", "output_path": f"file://{{FOLDER}}/ours/{{n}}.{{{{ext}}}}"}}
            for n in range(COUNT)
        ]
    )
with DAG("deferrable", **many):
    TextbookOperator.partial(task_id="image", url=URL, pool="flux").expand_kwargs(
        [
            {{"prompt": f"deferrable {{n}}", "path": f"{{FOLDER}}/deferrable/{{n}}.jpg"}}
            for n in range(COUNT)
        ]
    )
"""


@dataclass(frozen=True)
class DagRunUsage:
    """A DAG run, with the usage of all processes of Airflow.

    :param cpu: CPU seconds.
    :param peak: peak memory in MiB.
    :param state: state of the run.
    :param failed: tasks that did not succeed.
    """

    cpu: float
    peak: float
    state: str
    failed: int


@dataclass(frozen=True)
class MappedCluster:
    """A running Airflow with the DAGs ``ours``, ``python`` and ``deferrable``.

    :param cluster: the cluster of the tests.
    """

    cluster: Cluster

    def run(self, dag_id: str, timeout: float) -> DagRunUsage:
        """Run a DAG to its end, and measure all processes of Airflow.

        :param dag_id: ``ours``, ``python`` or ``deferrable``.
        :param timeout: seconds to wait for the end.
        """
        self.cluster.wait_parsed(dag_id)
        cpu_before = cpu_of(self._processes())
        with self._watch_memory() as peaks:
            run = self.cluster.run_dag(dag_id)
            state = self.cluster.wait(run, timeout)
        rows = self.cluster.task_instances(run)
        return DagRunUsage(
            cpu_of(self._processes()) - cpu_before,
            max(peaks),
            state,
            sum(row.state != "success" for row in rows),
        )

    def _processes(self) -> set[psutil.Process]:
        components = [*self.cluster.components, self.cluster.postgres]
        return set().union(*(component.family() for component in components))

    @contextmanager
    def _watch_memory(self) -> Iterator[list[float]]:
        """Measure the memory until the block ends."""
        peaks, has_ended = [0.0], threading.Event()

        def watch() -> None:
            while not has_ended.wait(MEMORY_SECONDS):
                peaks.append(memory_of(self._processes()))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield peaks
        finally:
            has_ended.set()
            thread.join()


@contextmanager
def start_cluster(
    airflow_home: Path, folder: Path, emulator: Emulator, count: int
) -> Iterator[MappedCluster]:
    """Start a cluster and stop it after the block.

    :param airflow_home: folder for Airflow.
    :param folder: folder for the images.
    :param emulator: emulator that the tasks submit to.
    :param count: images of each DAG.
    """
    (airflow_home / "dags").mkdir(parents=True)
    (airflow_home / "dags" / "contenders.py").write_text(
        DAGS.format(count=count, url=emulator.url, folder=str(folder))
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {
        "PYTHONPATH": path,
        "AIRFLOW_CONN_FLUX_DEFAULT": emulator.connection,
        **{f"AIRFLOW__{name}": value for name, value in AIRFLOW_DEFAULTS.items()},
    }
    sys.stderr.write("starting Airflow ...\n")
    with Cluster(
        airflow_home, airflow_home / "dags", parallelism=LIMIT + 8, env=environment
    ) as cluster:
        cluster.create_pool("flux", LIMIT)
        yield MappedCluster(cluster)
