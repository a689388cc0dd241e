"""Batches that are killed, terminated or cleared submit each row once and land its image."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psutil
import pytest

from airflow_provider_flux.emulator import EmulatorConfig
from tests.support.cluster.checkpointed_cluster import RETRIES_KILLED_TASKS, Site, open_site
from tests.support.cluster.harness import DagRun
from tests.support.cluster.kill import kill_runner, lose_worker
from tests.support.cluster.processes import wait_until
from tests.support.cluster.verdict import IN_FLIGHT
from tests.support.cutting_proxy import Cut

pytestmark = pytest.mark.cluster

IMAGES = int(os.environ.get("FLUX_BATCH_IMAGES", "96"))
KILLS = int(os.environ.get("FLUX_BATCH_KILLS", "2"))
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

VARIANTS = {
    "resubmit": {"on_uncertain": "resubmit", "retries": 9},
    "once": {"retries": 0},
}
#: From this row on, the rows of "once" are in flight until they are released.
HELD = {"resubmit": IMAGES, "once": 12}
for name, arguments in VARIANTS.items():
    with DAG(name, schedule=None, max_active_runs=99):
        FluxGenerateBatchOperator(
            task_id="images",
            requests=[
                {
                    "key": f"sku-{n}",
                    "prompt": f"{{{{ run_id }}}} {n}" + " [[fault:held]]" * (n >= HELD[name]),
                }
                for n in range(IMAGES)
            ],
            defaults={"width": 256, "height": 256},
            output_path="s3://my_s3@media/out/{{ run_id }}/{key}.{ext}",
            retry_delay=timedelta(seconds=1),
            **arguments,
        )
""".replace("IMAGES", str(IMAGES))


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    config = EmulatorConfig(latency=2, latency_spread=0.25, credits=1_000_000)
    with open_site(tmp_path_factory.mktemp("site"), DAGS, s3, config=config) as site:
        yield site


def start(site: Site, dag_id: str) -> DagRun:
    """Run a DAG; its run id is in all prompts and paths."""
    return site.cluster.run_dag(dag_id, run_id=f"{dag_id}-{uuid4().hex[:8]}")


def submits(site: Site, run: DagRun) -> int:
    """Return the number of submits of a run."""
    stats = site.emulator.stats()["submits_per_prompt"]
    return sum(count for prompt, count in stats.items() if prompt.startswith(f"{run.run_id} "))


def wait_submits(site: Site, run: DagRun, count: int) -> None:
    """Wait until a run has made ``count`` submits."""
    assert wait_until(lambda: submits(site, run) >= count, 120), site.cluster.dump()


def release_until_success(site: Site, run: DagRun) -> None:
    """Make each image ready as soon as it is submitted, until the run has succeeded."""

    def is_over() -> bool:
        site.emulator.release(run.run_id)
        return site.cluster.run_state(run) == "success"

    assert wait_until(is_over, 240), site.cluster.dump()


def runner_of(site: Site, run: DagRun) -> int | None:
    """Return the process id of the running task; ``None`` if no process runs it."""
    (row,) = site.cluster.task_instances(run)
    return row.pid if row.state == "running" and row.pid and psutil.pid_exists(row.pid) else None


def assert_each_row_landed_once(site: Site, run: DagRun, *, max_uncertain: int) -> dict[str, Any]:
    """Assert that each row has one image with the bytes of the manifest, and return the summary.

    :param max_uncertain: the most submits that the batch may report as uncertain. Each of them may
        have been submitted twice; no other row may.
    """
    (row,) = site.cluster.task_instances(run)
    assert row.state not in IN_FLIGHT
    summary: dict[str, Any] = site.cluster.xcom(run, "images")
    assert (summary["rows"], summary["landed"]) == (IMAGES, IMAGES)
    uncertain = summary["uncertain_submits"]
    assert uncertain <= max_uncertain
    assert IMAGES <= submits(site, run) <= IMAGES + uncertain, (submits(site, run), uncertain)
    bucket = site.bucket
    lines = [
        json.loads(line) for line in bucket.read(bucket.key_of(summary["manifest"])).splitlines()
    ]
    assert [line["key"] for line in lines] == [f"sku-{n}" for n in range(IMAGES)]
    for line in lines:
        assert (
            hashlib.sha256(bucket.read(bucket.key_of(line["uri"]))).hexdigest() == line["sha256"]
        ), line
    return summary


@pytest.mark.skipif(
    not RETRIES_KILLED_TASKS, reason="Airflow 3.0 does not retry a task whose process was killed"
)
def test_a_batch_killed_at_random_moments_lands_each_row_once(site: Site) -> None:
    run, killed = start(site, "resubmit"), 0
    moments = sorted(random.sample(range(1, IMAGES - 1), KILLS))
    for number, moment in enumerate(moments):
        wait_submits(site, run, moment)
        assert wait_until(
            lambda: runner_of(site, run) is not None or site.cluster.run_state(run) == "success", 60
        )
        if pid := runner_of(site, run):
            # The scheduler notices a lost worker late, by its missing heartbeats.
            kill = lose_worker if number == 2 else kill_runner
            with pytest.raises(Cut):
                kill(pid)
            killed += 1
    assert site.cluster.wait(run, 300) == "success", site.cluster.dump()
    assert_each_row_landed_once(site, run, max_uncertain=24 * killed)
    sys.stdout.write(
        f"\n{killed} kills after {moments} submits of {IMAGES}: {submits(site, run)} submits\n"
    )


def test_a_batch_marked_failed_and_cleared_submits_no_row_twice(site: Site) -> None:
    """A terminated batch submits nothing more and records its rows in flight: none is uncertain."""
    run = start(site, "once")
    wait_submits(site, run, 30)
    pid = runner_of(site, run)
    assert pid is not None
    site.cluster.set_state(run, "images", "failed")
    assert wait_until(lambda: not psutil.pid_exists(pid), 60)
    submitted = submits(site, run)
    assert submitted < IMAGES
    site.cluster.clear(run, "images")
    release_until_success(site, run)
    assert_each_row_landed_once(site, run, max_uncertain=0)


def test_flux_recover_lands_the_rows_that_a_killed_batch_left_in_flight(site: Site) -> None:
    """The task has no retry left, so the command has to land the submitted rows."""
    run = start(site, "once")
    wait_submits(site, run, 30)
    pid = runner_of(site, run)
    assert pid is not None
    psutil.Process(pid).kill()
    assert site.cluster.wait(run, 180) == "failed"
    site.emulator.release(run.run_id)
    records = recover(site, "--run-id", run.run_id)
    assert {record["outcome"] for record in records} <= {"recovered", "uncertain"}
    recovered = [record for record in records if record["outcome"] == "recovered"]
    assert recovered
    assert recover(site, "--run-id", run.run_id, "--dry-run") != records
    submitted = submits(site, run)
    uncertain = len(records) - len(recovered)
    images = [key for key in site.bucket.keys(f"out/{run.run_id}/") if key.endswith(".jpeg")]
    assert submitted - uncertain <= len(images) <= submitted
    site.cluster.clear(run, "images")  # a user accepts that uncertain rows are submitted again
    release_until_success(site, run)
    assert_each_row_landed_once(site, run, max_uncertain=uncertain)


def recover(site: Site, *arguments: str) -> list[dict[str, Any]]:
    """Run ``airflow flux recover`` in the environment of the scheduler, and return its records."""
    command = [
        sys.executable,
        "-m",
        "airflow_provider_flux",
        "recover",
        "--output",
        "json",
        *arguments,
    ]
    done = subprocess.run(
        command, env=site.cluster.env, capture_output=True, text=True, timeout=120, check=True
    )
    records: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout.strip() else []
    return records
