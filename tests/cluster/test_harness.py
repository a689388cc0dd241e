"""The harness of the cluster tests: its deployment works, survives a crash and ends completely."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.support.cluster.harness import Cluster, DagRun
from tests.support.cluster.processes import Component, free_port, is_alive, wait_until

pytestmark = pytest.mark.cluster

DAGS = '''
import subprocess
from datetime import timedelta

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag, task


class Nap(BaseOperator):
    """Defers for some seconds, longer than a scheduler loop: Airflow loses very quick triggers."""

    template_fields = ("seconds", "name")

    def __init__(self, *, seconds, name, **kwargs):
        super().__init__(**kwargs)
        self.seconds = seconds
        self.name = name

    def execute(self, context):
        self.log.info("going to nap")
        trigger = TimeDeltaTrigger(timedelta(seconds=int(self.seconds)))
        self.defer(trigger=trigger, method_name="wake")

    def wake(self, context, event):
        return {"slept": int(self.seconds)}


@dag(schedule=None)
def naps():
    @task
    def greet(params=None):
        print("greeting", params["name"])
        return f"hello {params['name']}"

    Nap(task_id="nap", seconds="{{ params.seconds }}", name="{{ params.name }}") << greet()


@dag(schedule=None)
def detached():
    @task
    def leave_daemon():
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(["sleep", "600"], start_new_session=True, **quiet).pid

    leave_daemon()


naps()
detached()
'''


@pytest.fixture(scope="module")
def dags_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dags")
    (folder / "naps.py").write_text(DAGS)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, dags_folder: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), dags_folder, triggerers=2) as running:
        yield running


def test_a_deferred_task_succeeds_on_the_cluster(cluster: Cluster) -> None:
    run = cluster.run_dag("naps", conf={"name": "harness", "seconds": 8})

    assert cluster.wait(run) == "success", cluster.dump()
    assert [(row.task_id, row.state) for row in cluster.task_instances(run)] == [
        ("greet", "success"),
        ("nap", "success"),
    ]
    assert cluster.xcom(run, "greet") == "hello harness"
    assert cluster.xcom(run, "nap") == {"slept": 8}
    log = cluster.task_log(run, "nap")
    assert "going to nap" in log
    assert "Trigger fired event" in log


def test_a_killed_triggerer_is_replaced_by_another(cluster: Cluster) -> None:
    run = deferred_nap(cluster, seconds=60)
    assert wait_until(lambda: owner(cluster, run) is not None, 50)
    first = owner(cluster, run)
    assert first is not None

    victim = next(triggerer for triggerer in cluster.triggerers if triggerer.name == first[1])
    victim.kill()
    assert not victim.family()
    victim.restart()

    assert cluster.wait(run) == "success", cluster.dump()
    # Each triggerer that runs a trigger has a log file of its own.
    assert trigger_jobs(cluster, run) - {first[0]}, cluster.dump()


def test_orphans_of_a_crashed_leader_end_with_the_restart(cluster: Cluster) -> None:
    before = cluster.scheduler.family()
    cluster.scheduler.signal(signal.SIGKILL, group=False)
    assert wait_until(lambda: not cluster.scheduler.running, 10)
    assert cluster.scheduler.family() & before, "the executor's workers should have survived"

    cluster.scheduler.restart()

    assert cluster.scheduler.running
    assert not [process for process in before if is_alive(process)]


def test_a_user_can_mark_and_clear_a_task(cluster: Cluster) -> None:
    run = deferred_nap(cluster, seconds=300)

    cluster.set_state(run, "nap", "success")
    assert cluster.wait(run) == "success"
    (nap,) = [row for row in cluster.task_instances(run) if row.task_id == "nap"]
    cluster.clear(run, "nap")
    assert cluster.wait_task(run, "nap", "deferred").try_number > nap.try_number
    cluster.set_state(run, "nap", "failed")
    assert cluster.wait(run) == "failed"


def test_all_text_finds_a_canary_in_logs_and_tables(cluster: Cluster) -> None:
    canary = f"canary-{uuid4().hex}"
    run = deferred_nap(cluster, seconds=300, name=canary)

    texts = list(cluster.all_text())
    locations = {name for name, content in texts if canary in content}
    assert {
        "dag_run.conf",
        "xcom.value",
        "rendered_task_instance_fields.rendered_fields",
    } <= locations
    assert f"logs/dag_id=naps/run_id={run.run_id}/task_id=greet/attempt=1.log" in locations
    assert {"trigger.kwargs", "log.extra", "component-logs/triggerer-2.log"} <= {
        name for name, _ in texts
    }


def test_the_harness_creates_a_pool(cluster: Cluster) -> None:
    cluster.create_pool("flux", slots=3, include_deferred=True)

    assert cluster.sql(
        "select slots, include_deferred from slot_pool where pool = :name", name="flux"
    ) == [(3, True)]


def test_no_process_survives_a_failed_test(tmp_path: Path, dags_folder: Path) -> None:
    processes: set[psutil.Process] = set()
    with pytest.raises(ZeroDivisionError), Cluster(tmp_path, dags_folder) as cluster:  # noqa: PT012
        run = cluster.run_dag("detached")
        assert cluster.wait(run) == "success", cluster.dump()
        processes.add(psutil.Process(cluster.xcom(run, "leave_daemon")))
        for component in (cluster.postgres, *cluster.components):
            assert component.running
            processes |= component.family()
        raise ZeroDivisionError

    assert len(processes) > 10
    assert not [process for process in processes if is_alive(process)]
    assert "leave_daemon" in cluster.dump()


def test_a_component_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    component = Component(
        "broken",
        [sys.executable, "-c", "raise SystemExit('the reason')"],
        env={},
        cwd=tmp_path,
        log=tmp_path / "broken.log",
        ready=lambda _started_at: False,
    )
    component.start()

    with pytest.raises(RuntimeError, match="the reason"):
        component.wait_ready()


def test_free_ports_are_distinct_and_not_ephemeral() -> None:
    ports = {free_port() for _ in range(20)}

    assert len(ports) == 20
    assert max(ports) < 32_768
    with socket.create_server(("127.0.0.1", ports.pop())):
        pass


def deferred_nap(cluster: Cluster, *, seconds: int, name: str = "nap") -> DagRun:
    """Start a run of the naps DAG, and return it when its task is deferred."""
    run = cluster.run_dag("naps", conf={"name": name, "seconds": seconds})
    cluster.wait_task(run, "nap", "deferred")
    return run


def trigger_jobs(cluster: Cluster, run: DagRun) -> set[int]:
    """Return the job ids of the triggerers that have run a trigger of a run."""
    folder = cluster.logs / f"dag_id={run.dag_id}" / f"run_id={run.run_id}"
    return {int(path.suffixes[-2][1:]) for path in folder.rglob("attempt=*.log.trigger.*.log")}


def owner(cluster: Cluster, run: DagRun) -> tuple[int, str] | None:
    """Return job and name of the triggerer that runs the trigger of a run; ``None`` without one."""
    for row in cluster.trigger_rows():
        if row.run_id == run.run_id and row.triggerer_job and row.triggerer:
            return row.triggerer_job, row.triggerer
    return None
