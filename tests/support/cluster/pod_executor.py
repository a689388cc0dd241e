"""An executor that runs each try as KubernetesExecutor does, in a process instead of a pod."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from airflow.executors.base_executor import BaseExecutor

from tests.support.cluster.celery import on_machine

#: Variables of the scheduler: the folder of the pods, and the path of the local disk in each pod.
PODS_FOLDER, POD_DISK = "TEST_PODS_FOLDER", "TEST_POD_DISK"
#: File in the folder of a pod with the id of its first process.
_PID_FILE = "pid"


class PodExecutor(BaseExecutor):
    """Starts a pod for each try: the command of KubernetesExecutor, with a machine of its own.

    A pod has a host name, an empty disk, an ``AIRFLOW_HOME`` and a temporary folder that no other
    pod has. It shares the DAG folder, as if its image contained it, and the folder of task logs, as
    with remote logging.
    """

    def start(self) -> None:
        """Start the executor, which has no pods yet."""
        self._pods: dict[Any, subprocess.Popen[bytes]] = {}

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            self.queued_tasks.pop(workload.key)
            self.running.add(workload.key)
            self._pods[workload.key] = _start_pod(workload)

    def sync(self) -> None:
        """Report the pods that have ended."""
        for key, pod in list(self._pods.items()):
            if (code := pod.poll()) is not None:
                del self._pods[key]
                self.fail(key) if code else self.success(key)

    def end(self) -> None:
        """Stop all pods."""
        self.terminate()

    def terminate(self) -> None:
        """Stop all pods."""
        for pod in self._pods.values():
            pod.terminate()


def pod_name(dag_id: str, try_number: int) -> str:
    """Return the host name of the pod of a try.

    :param dag_id: the DAG, which has one task and one run.
    :param try_number: number of the try.
    """
    return f"{dag_id.replace('_', '-')}-{try_number}"


def pod_processes(pods_folder: Path, name: str) -> list[psutil.Process]:
    """Return the processes of a running pod, its first one first.

    :param pods_folder: the folder of the pods.
    :param name: host name of the pod.
    """
    first = psutil.Process(int((pods_folder / name / _PID_FILE).read_text()))
    return [first, *first.children(recursive=True)]


def _start_pod(workload: Any) -> subprocess.Popen[bytes]:
    name = pod_name(workload.ti.dag_id, workload.ti.try_number)
    folder = Path(os.environ[PODS_FOLDER]) / name
    for part in ("airflow-home", "tmp", "disk"):
        (folder / part).mkdir(parents=True)
    program = [sys.executable, "-m", "airflow.sdk.execution_time.execute_workload"]
    with (folder / "output.log").open("wb") as output:
        pod = subprocess.Popen(
            [
                *on_machine(name, folder / "disk", Path(os.environ[POD_DISK])),
                *(*program, "--json-string", workload.model_dump_json()),
            ],
            env={
                **os.environ,
                "AIRFLOW_HOME": str(folder / "airflow-home"),
                "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{os.environ['AIRFLOW_HOME']}/logs",
                "TMPDIR": str(folder / "tmp"),
            },
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / _PID_FILE).write_text(str(pod.pid))
    return pod
