"""Executors whose workers share no disk but a bucket.

Two Celery workers with Redis, and pods as KubernetesExecutor starts them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_flux.emulator import EmulatorConfig
from tests.support.cluster.celery import missing_for_celery
from tests.support.cluster.checkpointed_cluster import HAS_TASK_STATE_STORE, Site, open_site
from tests.support.cluster.harness import FINISHED, DagRun, TaskRow
from tests.support.cluster.pod_executor import (
    POD_DISK,
    PODS_FOLDER,
    PodExecutor,
    pod_name,
    pod_processes,
)
from tests.support.cluster.processes import is_alive, wait_until

from .conftest import ROOT, copy_examples

pytestmark = pytest.mark.cluster

BUCKET = "s3://my_s3@media"
#: Rows of each batch. The account allows 24 active generations in all.
ROWS = 4
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator

HELD = "[[fault:held]]"
RETRIES = {"retries": 5, "retry_delay": timedelta(seconds=1)}
FOLDERS = {"bucket": "s3://my_s3@media/out", "disk": "file://{{ var.value.local_disk }}/out"}
VARIANTS = {"": {}, "_resubmit": {"on_uncertain": "resubmit"}, "_pod": {"executor": "Pods"}}

for place, folder in FOLDERS.items():
    for suffix, arguments in VARIANTS.items():
        path = folder + "/{{ run_id }}/{key}.{ext}"
        with DAG(f"image_{place}{suffix}", schedule=None):
            FluxGenerateOperator(
                task_id="image",
                prompt="{{ run_id }} " + HELD,
                output_path=path,
                deferrable=True,
                inline_wait=300,
                **RETRIES,
                **arguments,
            )
        with DAG(f"batch_{place}{suffix}", schedule=None):
            FluxGenerateBatchOperator(
                task_id="images",
                requests=[
                    {"key": f"sku-{n}", "prompt": "{{ run_id }} " + f"{n} {HELD}"}
                    for n in range(ROWS)
                ],
                defaults={"width": 256, "height": 256},
                output_path=path,
                **RETRIES,
                **arguments,
            )
""".replace("ROWS", str(ROWS))
EXAMPLES = {
    "flux_hero_image": {},
    "flux_single_task": {},
    "flux_ten_lines": {},
    "flux_mapped": {},
    "flux_product_catalog": {},
    "flux_nightly_catalogue": {"products": 12},
    "flux_campaign": {},
    "flux_decorator": {},
    "flux_batch_decorator": {},
}
#: Images of an example that lands more than one.
IMAGES = {
    "flux_mapped": 4,
    "flux_product_catalog": 4,
    "flux_nightly_catalogue": 12,
    "flux_batch_decorator": 3,
}
#: DAGs of the examples that Airflow runs itself, that wait for a person, or that have a test of
#: their own, as that of a product table.
NOT_RUN = {
    "flux_campaign_page",
    "flux_hero_deferred",
    "flux_product_table",
    "flux_reconcile",
    "flux_review",
}
KILLED = ["image_bucket", "batch_bucket", "image_disk", "batch_disk"]
KILLED += ["image_disk_resubmit", "batch_disk_resubmit"]
PODS = ["image_bucket_pod", "batch_bucket_pod", "image_disk_pod"]
#: Seconds after SIGTERM until Kubernetes kills what is left of a pod.
GRACE = 30


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A cluster with two workers. The tables of the examples stand for a database server."""
    if missing := missing_for_celery():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("site")
    tables = folder / "database-server"
    tables.mkdir()
    for path in copy_examples(folder / "dags", BUCKET).glob("*.py"):
        # A scheduled run would replace the images of the run that a test looks at.
        path.write_text(path.read_text().replace('schedule="@daily"', "schedule=None"))
    pods = folder / "pods"
    pods.mkdir()
    environment = {
        "AIRFLOW__CORE__EXECUTOR": f"CeleryExecutor,Pods:{PodExecutor.__module__}.PodExecutor",
        "PYTHONPATH": str(ROOT),
        PODS_FOLDER: str(pods),
        POD_DISK: str(folder / "airflow-home" / "disk"),
        "AIRFLOW_VAR_FLUX_OUTPUT": BUCKET,
        "AIRFLOW_VAR_FLUX_CATALOG_DB": str(tables / "catalog.db"),
        # Many tasks start at once on few cores, and a late heartbeat must not count as a loss.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
        "AIRFLOW_VAR_LOCAL_DISK": str(folder / "airflow-home" / "disk"),
    }
    config = EmulatorConfig(latency=2, credits=1_000_000)
    with open_site(folder, DAGS, s3, config=config, celery_workers=2, env=environment) as running:
        running.cluster.create_pool("flux", 4)
        yield running


@pytest.fixture(scope="module")
def examples(site: Site) -> dict[str, DagRun]:
    """Start all example DAGs together."""
    table = str(site.cluster.home.parent / "database-server" / "nightly.db")
    extra = {"flux_nightly_catalogue": {"database": table}}
    return {
        dag_id: site.cluster.run_dag(dag_id, {**conf, **extra.get(dag_id, {})})
        for dag_id, conf in EXAMPLES.items()
    }


def xcoms(site: Site, run: DagRun) -> list[dict[str, Any]]:
    """Return the generations and summaries that the tasks of a run returned."""
    rows = site.cluster.sql(
        "select value from xcom where dag_id = :dag_id and run_id = :run_id "
        "and key = 'return_value' order by task_id, map_index",
        dag_id=run.dag_id,
        run_id=run.run_id,
    )
    return [value for (value,) in rows if isinstance(value, dict)]


def images_in(site: Site, run: DagRun) -> dict[str, str]:
    """Return the SHA-256 of each image of a run, by URI, as its tasks and manifests say."""
    found: dict[str, str] = {}
    for value in xcoms(site, run):
        if value.get("image"):
            found[value["image"]["uri"]] = value["image"]["sha256"]
        if value.get("manifest"):
            manifest = site.bucket.read(site.bucket.key_of(value["manifest"]))
            lines = [json.loads(line) for line in manifest.splitlines()]
            found |= {line["uri"]: line["sha256"] for line in lines if line["uri"]}
    return found


@pytest.mark.parametrize("dag_id", EXAMPLES)
def test_an_example_lands_its_images_from_workers_that_share_no_disk(
    site: Site, examples: dict[str, DagRun], dag_id: str
) -> None:
    run = examples[dag_id]
    assert site.cluster.wait(run, 240) == "success", site.cluster.dump()
    images = images_in(site, run)
    assert len(images) == IMAGES.get(dag_id, 1)
    for uri, sha256 in images.items():
        assert hashlib.sha256(site.bucket.read(site.bucket.key_of(uri))).hexdigest() == sha256


def test_no_example_is_left_out(site: Site, examples: dict[str, DagRun]) -> None:
    dags = {dag_id for (dag_id,) in site.cluster.sql("select dag_id from dag")}
    assert {dag_id for dag_id in dags if dag_id.startswith("flux_")} == examples.keys() | NOT_RUN


def test_the_examples_ran_on_both_workers(site: Site, examples: dict[str, DagRun]) -> None:
    rows = [row for run in examples.values() for row in site.cluster.task_instances(run)]
    assert {row.hostname for row in rows} == {"worker-1", "worker-2"}
    assert not list(site.cluster.disk.iterdir())


@pytest.fixture(scope="module")
def lost(site: Site) -> dict[str, DagRun]:
    """End a Celery worker and pods while their submits are out; return the runs by DAG.

    Until then the other worker takes no task, and the emulator finishes no image.
    """
    first, second = site.cluster.celery_workers
    assert second.control("cancel_consumer", queue="default")
    runs = {
        dag_id: site.cluster.run_dag(dag_id, run_id=f"{dag_id}-run") for dag_id in (*KILLED, *PODS)
    }
    assert wait_until(lambda: all(is_submitted(site, run) for run in runs.values()), 300), (
        site.cluster.dump()
    )
    assert {row_of(site, runs[dag_id]).hostname for dag_id in KILLED} == {first.name}
    evict(pod_of(site, runs["batch_bucket_pod"]))
    for dag_id in ("image_bucket_pod", "image_disk_pod"):
        for process in pod_of(site, runs[dag_id]):
            process.kill()
    first.kill()
    site.emulator.release()
    assert second.control("add_consumer", queue="default")
    return runs


def pod_of(site: Site, run: DagRun) -> list[psutil.Process]:
    """Return the processes of the pod that runs the task of a run."""
    name = pod_name(run.dag_id, row_of(site, run).try_number)
    return pod_processes(pods_folder(site), name)


def pods_folder(site: Site) -> Path:
    """Return the folder with the disks of all pods."""
    return site.cluster.home.parent / "pods"


def evict(pod: list[psutil.Process]) -> None:
    """Stop a pod as Kubernetes does: with SIGTERM to its first process."""
    pod[0].terminate()
    assert wait_until(lambda: not any(map(is_alive, pod)), GRACE), pod


def row_of(site: Site, run: DagRun) -> TaskRow:
    """Return the only task instance of a run."""
    (row,) = site.cluster.task_instances(run)
    return row


def submits(site: Site, run: DagRun) -> int:
    """Return the number of submits of a run, whose id is in its prompts."""
    stats = site.emulator.stats()["submits_per_prompt"]
    return sum(count for prompt, count in stats.items() if prompt.startswith(f"{run.run_id} "))


def images_of(run: DagRun) -> int:
    """Return the number of images of a run."""
    return ROWS if run.dag_id.startswith("batch") else 1


def is_submitted(site: Site, run: DagRun) -> bool:
    """Whether all submits of a run are out, and its ledger has their answers."""
    if submits(site, run) < images_of(run):
        return False
    disks = [site.cluster.celery_workers[0].machine / "disk", *pods_folder(site).glob("*/disk")]
    paths = [path for disk in disks for path in disk.rglob("*.json*")]
    texts = [path.read_text() for path in paths if f"/_flux/ledger/{run.dag_id}/" in str(path)]
    keys = site.bucket.keys(f"out/_flux/ledger/{run.dag_id}/")
    texts += [site.bucket.read(key).decode() for key in keys]
    return sum(text.count('"submitted"') for text in texts) >= images_of(run)


@pytest.mark.parametrize("dag_id", ["image_bucket", "batch_bucket"])
def test_another_worker_resumes_from_the_bucket_and_pays_nothing_again(
    site: Site, lost: dict[str, DagRun], dag_id: str
) -> None:
    run = lost[dag_id]
    assert site.cluster.wait(run, 240) == "success", site.cluster.dump()
    assert row_of(site, run).hostname == "worker-2"
    images = images_in(site, run)
    assert len(images) == submits(site, run) == images_of(run)
    for uri, sha256 in images.items():
        assert hashlib.sha256(site.bucket.read(site.bucket.key_of(uri))).hexdigest() == sha256
        assert site.bucket.keys(site.bucket.key_of(uri)) == [
            site.bucket.key_of(uri) + suffix for suffix in ("", ".json", ".thumb.webp")
        ]


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="Airflow 3.3 remembers the dead machine")
@pytest.mark.parametrize("dag_id", ["image_disk", "batch_disk"])
def test_a_ledger_on_the_dead_machine_fails_the_retry_which_names_the_machine(
    site: Site, lost: dict[str, DagRun], dag_id: str
) -> None:
    run = lost[dag_id]
    assert site.cluster.wait(run, 240) == "failed", site.cluster.dump()
    row = row_of(site, run)
    assert row.hostname == "worker-2"
    assert submits(site, run) == images_of(run)
    log = site.cluster.task_log(run, row.task_id, row.try_number)
    assert "FluxSubmitUncertainError" in log
    assert "/_flux/ledger/ on the machine worker-1. This try runs on worker-2, whose" in log


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="Airflow 3.3 remembers the dead machine")
@pytest.mark.parametrize("dag_id", ["image_disk_resubmit", "batch_disk_resubmit"])
def test_a_ledger_on_the_dead_machine_is_a_warning_if_the_user_accepts_a_second_charge(
    site: Site, lost: dict[str, DagRun], dag_id: str
) -> None:
    run = lost[dag_id]

    def is_over() -> bool:
        site.emulator.release()  # the second submits
        return site.cluster.run_state(run) in FINISHED

    assert wait_until(is_over, 240), site.cluster.dump()
    assert site.cluster.run_state(run) == "success", site.cluster.dump()
    assert submits(site, run) == 2 * images_of(run)
    row = row_of(site, run)
    log = site.cluster.task_log(run, row.task_id, row.try_number)
    assert "on the machine worker-1. This try runs on worker-2, whose disk has no record" in log
    landed = site.cluster.celery_workers[1].machine / "disk" / "out" / run.run_id
    assert len(list(landed.glob("*.jpeg"))) == images_of(run)


@pytest.mark.parametrize("dag_id", ["image_bucket_pod", "batch_bucket_pod"])
def test_the_next_pod_resumes_from_the_bucket_and_pays_nothing_again(
    site: Site, lost: dict[str, DagRun], dag_id: str
) -> None:
    run = lost[dag_id]
    assert site.cluster.wait(run, 240) == "success", site.cluster.dump()
    row = row_of(site, run)
    assert row.hostname == pod_name(dag_id, row.try_number) != pod_name(dag_id, 1)
    images = images_in(site, run)
    assert len(images) == submits(site, run) == images_of(run)


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="Airflow 3.3 remembers the dead machine")
def test_a_ledger_in_a_dead_pod_fails_the_retry_which_names_the_pod(
    site: Site, lost: dict[str, DagRun]
) -> None:
    run = lost["image_disk_pod"]
    assert site.cluster.wait(run, 240) == "failed", site.cluster.dump()
    row = row_of(site, run)
    log = site.cluster.task_log(run, row.task_id, row.try_number)
    assert (
        "/_flux/ledger/ on the machine image-disk-pod-1. This try runs on image-disk-pod-2" in log
    )
    assert submits(site, run) == 1
