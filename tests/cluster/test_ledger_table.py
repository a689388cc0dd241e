"""The table of docs/ledger.md on a real cluster: actions of a user, submits and records."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.support.cluster.checkpointed_cluster import (
    DEFAULT_THRESHOLDS,
    HAS_TASK_STATE_STORE,
    RETRIES_KILLED_TASKS,
    Site,
    open_site,
)
from tests.support.cluster.harness import DagRun
from tests.support.cluster.processes import wait_until
from tests.support.cluster.verdict import (
    ImageTask,
    assert_landed,
    assert_paid_once_and_landed,
    is_recorded,
    logs_of,
    records_of,
    row_of,
)

pytestmark = pytest.mark.cluster

POOL = {"name": "narrow", "description": "", "include_deferred": False}
#: Seconds that a signed URL is valid.
URL_LIFETIME = 4
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

PATH = "s3://my_s3@media/out/{{ run_id }}/{key}-{request_id}.{ext}"


def image(**arguments):
    defaults = {
        "prompt": "{{ run_id }}",
        "output_path": PATH,
        "deferrable": True,
        "inline_wait": 0,
        "retries": 1,  # a run that is made anew races with the old one
        "retry_delay": timedelta(seconds=1),
    }
    return FluxGenerateOperator(task_id="image", **{**defaults, **arguments})


with DAG("quick", schedule=None, max_active_runs=99):
    image()
with DAG("slow", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} [[fault:held]]")
with DAG("inline", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} [[fault:held]]", inline_wait=300)
with DAG("changing", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} {{ ti.try_number }} [[fault:held]]", retries=0)
with DAG("nowhere", schedule=None, max_active_runs=99):
    image(prompt="{{ run_id }} [[fault:held]]", output_path=None)
with DAG("late", schedule=None):
    image(prompt="{{ run_id }} [[fault:held]]", pool="narrow")
    bare = FluxGenerateOperator(
        task_id="bare",
        prompt="{{ run_id }} bare [[fault:held]]",
        pool="narrow",
        deferrable=True,
        inline_wait=0,
    )
    FluxToObjectStorageOperator(
        task_id="land",
        generation=bare.output,
        output_path="s3://my_s3@media/out/{{ run_id }}/bare.{ext}",
    )
"""


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from airflow_provider_flux.emulator import EmulatorConfig

    config = EmulatorConfig(latency=3, credits=1_000_000, url_lifetime=URL_LIFETIME)
    # No row loses a worker, so no worker that is slow under load may count as lost.
    folder, env = tmp_path_factory.mktemp("table"), DEFAULT_THRESHOLDS
    with open_site(folder, DAGS, s3, config=config, env=env) as site:
        site.cluster.create_pool("narrow", 2, include_deferred=False)
        yield site


@pytest.fixture(scope="module")
def rows(site: Site) -> Iterator[dict[str, Future[None]]]:
    """All rows, each on a thread of its own: most of the time they wait."""
    with ThreadPoolExecutor(max_workers=len(ROWS)) as pool:
        yield {name: pool.submit(row, site) for name, row in ROWS.items()}


def start_image(
    site: Site, dag_id: str, *, run_id: str | None = None, lands: bool = True
) -> ImageTask:
    """Run a DAG with one image. Except in ``quick``, it is in flight until it is released."""
    run = site.cluster.run_dag(dag_id, run_id=run_id or f"{dag_id}-{uuid4().hex[:8]}")
    held = "" if dag_id == "quick" else " [[fault:held]]"
    return ImageTask(run, f"{run.run_id}{held}", lands=lands)


def wait_in_flight(site: Site, image: ImageTask, state: str = "deferred") -> None:
    site.cluster.wait_task(image.run, "image", state, timeout=300)
    assert wait_until(lambda: is_recorded(site, image), 240), logs_of(site, image)
    if state == "deferred":  # a trigger must run to be cancelled
        triggers = site.cluster.trigger_rows
        assert wait_until(
            lambda: any(row.run_id == image.run.run_id and row.triggerer for row in triggers()), 120
        )


def succeed(site: Site, image: ImageTask) -> None:
    """Make the image ready, and wait for its run."""
    site.emulator.release(image.run.run_id)
    assert site.cluster.wait(image.run, 240) == "success", logs_of(site, image)


def end(site: Site, image: ImageTask, state: str) -> None:
    """Set the state of a task as a user does, and wait for its run.

    The scheduler could undo a clear that comes earlier.
    """
    site.cluster.set_state(image.run, "image", state)
    site.cluster.wait_task(image.run, "image", state)
    site.cluster.wait(image.run)


def wait_for_the_end_of(pid: int | None) -> None:
    """Wait until the process of a try that was ended is gone, which might land an image until then.

    A clear after that would rightly submit again.
    """
    assert pid is not None
    assert wait_until(lambda: not psutil.pid_exists(pid), 120)


def recover(site: Site, *arguments: str) -> list[dict[str, Any]]:
    """Run ``airflow flux recover`` as an administrator does, and return its records."""
    module = ["airflow", "flux"] if HAS_TASK_STATE_STORE else ["airflow_provider_flux"]
    command = [sys.executable, "-m", *module, "recover", "--output", "json", *arguments]
    done = subprocess.run(
        command, env=site.cluster.env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout.strip() else []
    return records


def clear_a_task_that_succeeded(site: Site) -> None:
    image = start_image(site, "quick")
    succeed(site, image)
    first = site.cluster.xcom(image.run, "image")
    site.cluster.clear(image.run, "image")
    succeed(site, image)
    second = site.cluster.xcom(image.run, "image")
    assert first["request_id"] != second["request_id"]
    assert site.submits_of(image.prompt) == 2
    assert [record["phase"] for record in records_of(site, image)] == ["returned", "returned"]
    for generation in (first, second):
        assert_landed(site, image, generation)


def mark_failed_then_clear(site: Site) -> None:
    # Airflow cancels triggers since 3.3, and keeps their log lines for one second only.
    for _ in range(8):
        image = start_image(site, "slow")
        wait_in_flight(site, image)
        end(site, image, "failed")
        is_logged = partial(_is_cancel_logged, site, image)
        if not HAS_TASK_STATE_STORE or wait_until(is_logged, 20):
            break
    else:
        raise AssertionError(logs_of(site, image))
    site.cluster.clear(image.run, "image")
    succeed(site, image)
    assert_paid_once_and_landed(site, image, submits=1, uncertain=0)


def _is_cancel_logged(site: Site, image: ImageTask) -> bool:
    return "BFL has no cancel: the request goes on" in logs_of(site, image)


def _is_recovery_logged(site: Site, image: ImageTask) -> bool:
    return "is billed and on record. Clear the task" in logs_of(site, image)


def mark_failed_while_running_then_clear(site: Site) -> None:
    image = start_image(site, "inline")
    wait_in_flight(site, image, "running")
    pid = row_of(site, image).pid
    end(site, image, "failed")
    is_logged = partial(_is_recovery_logged, site, image)
    assert wait_until(is_logged, 30), logs_of(site, image)
    site.cluster.clear(image.run, "image")
    wait_for_the_end_of(pid)
    succeed(site, image)
    assert_paid_once_and_landed(site, image, submits=1, uncertain=0)


def mark_success_then_recover_then_clear(site: Site) -> None:
    image = start_image(site, "slow")
    wait_in_flight(site, image)
    end(site, image, "success")
    assert [record["phase"] for record in records_of(site, image)] == ["submitted"]
    site.emulator.release(image.run.run_id)
    records: list[dict[str, Any]] = []

    def is_recovered() -> bool:
        records[:] = recover(site, "--dag-id", "slow", "--run-id", image.run.run_id)
        return bool(records[0]["outcome"] == "recovered")

    assert wait_until(is_recovered, 240), records
    site.cluster.clear(image.run, "image")
    succeed(site, image)
    assert assert_paid_once_and_landed(site, image, submits=1)["image"]["uri"] == records[0]["uri"]


def clear_while_deferred(site: Site) -> None:
    image = start_image(site, "slow")
    wait_in_flight(site, image)
    site.cluster.clear(image.run, "image")
    succeed(site, image)
    assert_paid_once_and_landed(site, image, submits=1, uncertain=0)
    assert "BFL has no cancel: the request goes on" not in logs_of(site, image)


def clear_while_running(site: Site) -> None:
    image = start_image(site, "inline")
    wait_in_flight(site, image, "running")
    pid = row_of(site, image).pid
    site.cluster.clear(image.run, "image")
    wait_for_the_end_of(pid)
    succeed(site, image)
    assert_paid_once_and_landed(site, image, submits=1, uncertain=0)


def delete_the_run_and_make_it_again(site: Site) -> None:
    image = start_image(site, "slow")
    wait_in_flight(site, image)
    end(site, image, "failed")  # a run cannot be deleted while it runs
    delete(site, image.run)
    again = start_image(site, "slow", run_id=image.run.run_id)
    succeed(site, again)
    assert_paid_once_and_landed(site, again, submits=1, uncertain=0)
    delete(site, image.run)
    again = start_image(site, "slow", run_id=image.run.run_id)
    # The earlier generation was returned, so this run submits.
    assert wait_until(lambda: site.submits_of(image.prompt) == 2, 300), logs_of(site, again)
    succeed(site, again)
    assert site.submits_of(image.prompt) == 2


def clear_with_another_prompt(site: Site) -> None:
    image = start_image(site, "changing")
    wait_in_flight(site, image)
    (old,) = records_of(site, image)
    end(site, image, "failed")
    site.cluster.clear(image.run, "image")
    # The prompts have the try numbers, which depend on what Airflow does under load.
    assert wait_until(lambda: len(_submits_of_run(site, image)) == 2, 300), logs_of(site, image)
    succeed(site, image)
    request_id = old["generation"]["request_id"]
    message = f"The request has changed. An earlier try submitted request {request_id} (4 credits"
    assert message in logs_of(site, image)
    assert set(_submits_of_run(site, image).values()) == {1}
    (row,) = recover(site, "--run-id", image.run.run_id, "--prefix", "s3://my_s3@media/out/")
    assert (row["outcome"], row["request_id"]) == ("recovered", request_id)


def _submits_of_run(site: Site, image: ImageTask) -> dict[str, int]:
    """Return the number of submits of each prompt of the run."""
    stats = site.emulator.stats()["submits_per_prompt"]
    return {prompt: n for prompt, n in stats.items() if prompt.startswith(f"{image.run.run_id} ")}


def clear_without_output_path(site: Site) -> None:
    """The record is in the task state store: it survives a clear and is deleted with its run."""
    if not HAS_TASK_STATE_STORE:
        return
    image, other = (start_image(site, "nowhere", lands=False) for _ in range(2))
    for each in (image, other):
        wait_in_flight(site, each)
        end(site, each, "failed")
    site.cluster.clear(image.run, "image")
    succeed(site, image)
    assert_paid_once_and_landed(site, image, submits=1, uncertain=0)
    site.emulator.release(other.run.run_id)
    records: list[dict[str, Any]] = []

    def is_recovered() -> bool:
        path = "s3://my_s3@media/out/recovered/{request_id}.{ext}"
        records[:] = recover(site, "--dag-id", "nowhere", "--output-path", path)
        return bool(records[0]["outcome"] == "recovered")

    assert wait_until(is_recovered, 240), records
    assert site.bucket.read(site.bucket.key_of(records[0]["uri"]))
    assert [record["phase"] for record in records_of(site, other)] == ["persisted"]
    delete(site, other.run)
    assert recover(site, "--dag-id", "nowhere") == []


def wait_for_a_slot_until_the_url_has_expired(site: Site) -> None:
    image = start_image(site, "late")
    wait_in_flight(site, image)
    site.cluster.wait_task(image.run, "bare", "deferred", timeout=300)
    resize(site, 0)
    site.emulator.release(image.run.run_id)
    # The trigger needs no slot.
    assert wait_until(lambda: records_of(site, image)[-1]["phase"] == "persisted", 240)
    time.sleep(URL_LIFETIME + 3)  # the URL expires
    assert row_of(site, image).state != "success"
    resize(site, 2)
    succeed(site, image)
    assert_paid_once_and_landed(site, image, submits=1, uncertain=0)
    assert logs_of(site, image).count("Landed request") == 1
    bare, landed = (site.cluster.xcom(image.run, task_id) for task_id in ("bare", "land"))
    assert bare["request_id"] == landed["request_id"]  # landed from a fresh URL
    assert_landed(site, image, landed)


def resize(site: Site, slots: int) -> None:
    """Set the slots of the pool."""
    site.cluster.rest.patch("/pools/narrow", {**POOL, "slots": slots})


def delete(site: Site, run: DagRun) -> None:
    """Delete a run that has ended, as a user does."""
    site.cluster.wait(run)
    site.cluster.rest.delete(run.path)
    states = "select 1 from dag_run where dag_id = :dag_id and run_id = :run_id"
    assert wait_until(
        lambda: not site.cluster.sql(states, dag_id=run.dag_id, run_id=run.run_id), 30
    )


ROWS: dict[str, Callable[[Site], None]] = {
    row.__name__: row
    for row in (
        clear_a_task_that_succeeded,
        mark_failed_then_clear,
        mark_failed_while_running_then_clear,
        mark_success_then_recover_then_clear,
        clear_while_deferred,
        clear_while_running,
        delete_the_run_and_make_it_again,
        clear_with_another_prompt,
        clear_without_output_path,
        wait_for_a_slot_until_the_url_has_expired,
    )
    # Airflow 3.0 leaves a task that was cleared while it ran in the state "restarting".
    if RETRIES_KILLED_TASKS or row is not clear_while_running
}


@pytest.mark.parametrize("name", ROWS)
def test_the_cluster_does_what_a_row_of_the_ledger_table_says(
    rows: dict[str, Future[None]], name: str
) -> None:
    rows[name].result(timeout=900)
