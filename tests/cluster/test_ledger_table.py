"""The table of docs/ledger.md on a real cluster: what a user does to a task, what is paid, and what is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.support.cluster.checkpointed_cluster import (
    HAS_TASK_STATE_STORE,
    RETRIES_KILLED_TASKS,
    Site,
    open_site,
)
from tests.support.cluster.harness import DagRun
from tests.support.cluster.processes import wait_until
from tests.support.cluster.verdict import (
    Order,
    assert_landed,
    assert_paid_once_and_landed,
    is_recorded,
    logs_of,
    records_of,
    row_of,
)

pytestmark = pytest.mark.cluster

#: Seconds an image takes that is to be in flight when something is done to its task.
SLOW = 25
POOL = {"name": "narrow", "description": "", "include_deferred": False}
#: Seconds a signed URL lives for.
URL_LIFETIME = 4
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

PATH = "s3://my_s3@media/out/{{ run_id }}/{key}-{request_id}.{ext}"


def image(**arguments):
    arguments = {"prompt": "{{ run_id }}", "output_path": PATH, "deferrable": True, "inline_wait": 0, **arguments}
    arguments = {"retries": 1, "retry_delay": timedelta(seconds=1), **arguments}  # a run made anew races with the old
    return FluxGenerateOperator(task_id="image", **arguments)


with DAG("quick", schedule=None, max_active_runs=99):
    image()
with DAG("slow", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} [[fault:slow=SLOW]]")
with DAG("inline", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} [[fault:slow=SLOW]]", inline_wait=120)
with DAG("changing", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} {{ ti.try_number }} [[fault:slow=SLOW]]", retries=0)
with DAG("nowhere", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} [[fault:slow=SLOW]]", output_path=None)
with DAG("late", schedule=None):
    image(prompt="{{ run_id }} [[fault:slow=60]]", pool="narrow")
    bare = FluxGenerateOperator(
        task_id="bare", prompt="{{ run_id }} bare [[fault:slow=60]]", pool="narrow", deferrable=True, inline_wait=0
    )
    FluxToObjectStorageOperator(
        task_id="land", generation=bare.output, output_path="s3://my_s3@media/out/{{ run_id }}/bare.{ext}"
    )
""".replace("SLOW", str(SLOW))


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from airflow_provider_flux.emulator import EmulatorConfig

    config = EmulatorConfig(latency=3, credits=1_000_000, url_lifetime=URL_LIFETIME)
    with open_site(tmp_path_factory.mktemp("table"), DAGS, s3, config=config) as opened:
        opened.cluster.create_pool("narrow", 2, include_deferred=False)
        yield opened


@pytest.fixture(scope="module")
def rows(site: Site) -> Iterator[dict[str, Future[None]]]:
    """All rows at once, each on a thread of its own: most of the time they wait."""
    with ThreadPoolExecutor(max_workers=len(ROWS)) as pool:
        yield {name: pool.submit(row, site) for name, row in ROWS.items()}


def order(
    site: Site, dag_id: str, suffix: str = "", *, run_id: str | None = None, lands: bool = True
) -> Order:
    """Order an image."""
    run = site.cluster.run_dag(dag_id, run_id=run_id or f"{dag_id}-{uuid4().hex[:8]}")
    slow = {"quick": "", "late": " [[fault:slow=60]]"}.get(dag_id, f" [[fault:slow={SLOW}]]")
    return Order(run, f"{run.run_id}{suffix}{slow}", lands=lands)


def wait_in_flight(site: Site, one: Order, state: str = "deferred") -> None:
    site.cluster.wait_task(one.run, "image", state, timeout=150)
    assert wait_until(lambda: is_recorded(site, one), 120), logs_of(site, one)
    if state == "deferred":  # and the trigger runs: only then it can be told that it is over
        triggers = site.cluster.trigger_rows
        assert wait_until(
            lambda: any(row.run_id == one.run.run_id and row.triggerer for row in triggers()), 60
        )


def succeed(site: Site, one: Order) -> None:
    assert site.cluster.wait(one.run, 240) == "success", logs_of(site, one)


def end(site: Site, one: Order, state: str) -> None:
    """Let a user end the task, and the scheduler its run: a clear that it has not seen it may undo."""
    site.cluster.set_state(one.run, "image", state)
    site.cluster.wait_task(one.run, "image", state)
    site.cluster.wait(one.run)


def recover(site: Site, *arguments: str) -> list[dict[str, Any]]:
    """Run the command as an administrator does."""
    module = ["airflow", "flux"] if HAS_TASK_STATE_STORE else ["airflow_provider_flux"]
    command = [sys.executable, "-m", *module, "recover", "--output", "json", *arguments]
    done = subprocess.run(
        command, env=site.cluster.env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout.strip() else []
    return found


def clear_of_a_task_that_ended_well(site: Site) -> None:
    one = order(site, "quick")
    succeed(site, one)
    first = site.cluster.xcom(one.run, "image")
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    second = site.cluster.xcom(one.run, "image")
    assert first["request_id"] != second["request_id"]
    assert site.submits_of(one.prompt) == 2
    assert [record["phase"] for record in records_of(site, one)] == ["returned", "returned"]
    for found in (first, second):
        assert_landed(site, one, found)


def mark_failed_then_clear(site: Site) -> None:
    for _ in range(
        3
    ):  # triggers are told from Airflow 3.3 on, whose log takes what they say within a second only
        one = order(site, "slow")
        wait_in_flight(site, one)
        end(site, one, "failed")
        if not HAS_TASK_STATE_STORE or wait_until(lambda one=one: _is_told(site, one), 20):  # type: ignore[misc]
            break
    else:
        raise AssertionError(logs_of(site, one))
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    assert_paid_once_and_landed(site, one, submits=1, uncertain=0)


def _is_told(site: Site, one: Order) -> bool:
    return "BFL has no cancel: the request goes on" in logs_of(site, one)


def mark_failed_while_running_then_clear(site: Site) -> None:
    one = order(site, "inline")
    wait_in_flight(site, one, "running")
    end(site, one, "failed")
    assert wait_until(lambda: "is on record: clearing the task" in logs_of(site, one), 30), logs_of(
        site, one
    )
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    assert_paid_once_and_landed(site, one, submits=1, uncertain=0)


def mark_success_then_recover_then_clear(site: Site) -> None:
    one = order(site, "slow")
    wait_in_flight(site, one)
    end(site, one, "success")
    assert [record["phase"] for record in records_of(site, one)] == ["submitted"]
    found: list[dict[str, Any]] = []

    def is_collected() -> bool:
        found[:] = recover(site, "--dag-id", "slow", "--run-id", one.run.run_id)
        return found[0]["outcome"] == "collected"

    assert wait_until(is_collected, 90), found
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    assert assert_paid_once_and_landed(site, one, submits=1)["image"]["uri"] == found[0]["uri"]


def clear_while_deferred(site: Site) -> None:
    one = order(site, "slow")
    wait_in_flight(site, one)
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    assert_paid_once_and_landed(site, one, submits=1, uncertain=0)
    assert "BFL has no cancel: the request goes on" not in logs_of(site, one)


def clear_while_running(site: Site) -> None:
    one = order(site, "inline")
    wait_in_flight(site, one, "running")
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    assert_paid_once_and_landed(site, one, submits=1, uncertain=0)


def delete_the_run_and_make_it_again(site: Site) -> None:
    one = order(site, "slow")
    wait_in_flight(site, one)
    end(site, one, "failed")  # a run cannot be deleted while it runs
    delete(site, one.run)
    again = order(site, "slow", run_id=one.run.run_id)
    succeed(site, again)
    assert_paid_once_and_landed(site, again, submits=1, uncertain=0)
    delete(site, one.run)
    again = order(site, "slow", run_id=one.run.run_id)
    succeed(site, again)  # what was returned is a matter of the past
    assert site.submits_of(one.prompt) == 2


def another_prompt(site: Site) -> None:
    one = order(site, "changing", " 1")
    wait_in_flight(site, one)
    (old,) = records_of(site, one)
    end(site, one, "failed")
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    said = logs_of(site, one)
    assert (
        f"The request has changed: the earlier request {old['generation']['request_id']} (4 credits"
        in said
    )
    assert site.submits_of(one.prompt) == site.submits_of(one.prompt.replace(" 1 ", " 2 ")) == 1
    (row,) = recover(site, "--run-id", one.run.run_id, "--prefix", "s3://my_s3@media/out/")
    assert (row["outcome"], row["request_id"]) == ("collected", old["generation"]["request_id"])


def without_output_path(site: Site) -> None:
    """The record is in the task state store: it outlives a clear, and goes with its run."""
    if not HAS_TASK_STATE_STORE:
        return
    one, other = (order(site, "nowhere", lands=False) for _ in range(2))
    for each in (one, other):
        wait_in_flight(site, each)
        end(site, each, "failed")
    site.cluster.clear(one.run, "image")
    succeed(site, one)
    assert_paid_once_and_landed(site, one, submits=1, uncertain=0)
    found: list[dict[str, Any]] = []

    def is_collected() -> bool:
        path = "s3://my_s3@media/out/recovered/{request_id}.{ext}"
        found[:] = recover(site, "--dag-id", "nowhere", "--output-path", path)
        return found[0]["outcome"] == "collected"

    assert wait_until(is_collected, 90), found
    assert site.bucket.read(site.bucket.key_of(found[0]["uri"]))
    assert [record["phase"] for record in records_of(site, other)] == ["persisted"]
    delete(site, other.run)
    assert recover(site, "--dag-id", "nowhere") == []


def no_worker_is_free_until_the_url_is_dead(site: Site) -> None:
    one = order(site, "late")
    wait_in_flight(site, one)
    site.cluster.wait_task(one.run, "bare", "deferred", timeout=150)
    resize(site, 0)
    assert wait_until(
        lambda: records_of(site, one)[-1]["phase"] == "persisted", 120
    )  # the trigger needs no slot
    time.sleep(URL_LIFETIME + 3)
    assert row_of(site, one).state != "success"
    resize(site, 2)
    succeed(site, one)
    assert_paid_once_and_landed(site, one, submits=1, uncertain=0)
    assert site.cluster.task_log(one.run, "image").count("Landed request") == 1
    bare, landed = (site.cluster.xcom(one.run, task_id) for task_id in ("bare", "land"))
    assert bare["request_id"] == landed["request_id"]  # by a fresh URL
    assert_landed(site, one, landed)


def resize(site: Site, slots: int) -> None:
    """Give the pool so many slots."""
    site.cluster.rest.patch("/pools/narrow", {**POOL, "slots": slots})


def delete(site: Site, run: DagRun) -> None:
    """Let a user delete a run that has ended."""
    site.cluster.wait(run)
    site.cluster.rest.delete(run.path)
    states = "select 1 from dag_run where dag_id = :dag_id and run_id = :run_id"
    assert wait_until(
        lambda: not site.cluster.sql(states, dag_id=run.dag_id, run_id=run.run_id), 30
    )


ROWS: dict[str, Callable[[Site], None]] = {
    row.__name__: row
    for row in (
        clear_of_a_task_that_ended_well,
        mark_failed_then_clear,
        mark_failed_while_running_then_clear,
        mark_success_then_recover_then_clear,
        clear_while_deferred,
        clear_while_running,
        delete_the_run_and_make_it_again,
        another_prompt,
        without_output_path,
        no_worker_is_free_until_the_url_is_dead,
    )
    # Airflow 3.0 leaves a task that was cleared while it ran in "restarting"
    if RETRIES_KILLED_TASKS or row is not clear_while_running
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_table(rows: dict[str, Future[None]], name: str) -> None:
    rows[name].result(timeout=400)
