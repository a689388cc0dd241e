"""The example DAGs, the free worker slot and the search for secrets, on a real Airflow."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.cluster.harness import Cluster, DagRun
from tests.support.cluster.processes import wait_until
from tests.support.receivers import (
    HttpReceiver,
    attributes_of,
    http_receiver,
    monitoring_environment,
)

from .conftest import KEY, WEBHOOK_SECRET, copy_examples, flux_environment

pytestmark = pytest.mark.cluster

LITERAL_SECRET = "canary-webhook-secret-of-a-dag-file"
PROMPT_CANARY = "canary-prompt-of-an-observed-task"
#: Fewer than the images of the mapped example, which would all be active together without the pool.
POOL_SLOTS = 2

TEST_DAGS = f"""
import time

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

OUTPUT = "{{{{ var.value.flux_output }}}}"

with DAG("one_slot", schedule=None):
    FluxGenerateOperator(
        task_id="generate",
        prompt="slow [[fault:held]]",
        pool="only_slot",
        deferrable=True,
        inline_wait=0,
    )

    @task(pool="only_slot")
    def neighbour():
        return time.time()

    # The delay lets the other task start first. Then this one needs the slot of that task.
    BashOperator(task_id="moment", bash_command="sleep 6") >> neighbour()

with DAG("connection_in_database", schedule=None):
    FluxGenerateOperator(
        task_id="generate",
        prompt="x",
        flux_conn_id="flux_in_database",
        deferrable=True,
        inline_wait=0,
    )

with DAG("observed", schedule=None):
    FluxGenerateOperator(
        task_id="hero",
        prompt="{PROMPT_CANARY}",
        output_path=f"{{OUTPUT}}/observed/{{{{seed}}}}.{{{{ext}}}}",
        deferrable=True,
        inline_wait=0,
    )

with DAG("canaries", schedule=None):
    deferred = {{"deferrable": True, "inline_wait": 0}}
    nowhere = "http://127.0.0.1:9/hook"
    FluxGenerateOperator(
        task_id="landed",
        prompt="a",
        output_path=f"{{OUTPUT}}/canary/{{{{seed}}}}.{{{{ext}}}}",
        **deferred,
    )
    FluxGenerateOperator(task_id="webhook", prompt="b", webhook_url=nowhere, **deferred)
    FluxGenerateOperator(
        task_id="literal", prompt="c", webhook_url=nowhere, webhook_secret="{LITERAL_SECRET}"
    )
    FluxGenerateOperator(task_id="echo", prompt="d [[fault:echo-secrets]]", webhook_url=nowhere)
    FluxGenerateOperator(task_id="moderated", prompt="e [[fault:moderated=Violence]]", **deferred)
    FluxGenerateOperator(
        task_id="expired",
        prompt="f [[fault:expired=always]]",
        output_path=f"{{OUTPUT}}/canary/x.{{{{ext}}}}",
        **deferred,
    )
    FluxGenerateOperator(
        task_id="broken",
        prompt="g [[fault:truncate=always]]",
        output_path=f"{{OUTPUT}}/canary/y.{{{{ext}}}}",
    )
    FluxGenerateOperator(
        task_id="redirected",
        prompt="h [[fault:redirect-download]]",
        output_path=f"{{OUTPUT}}/z.png",
    )
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorServer]:
    with EmulatorServer(EmulatorConfig(latency=3)) as server:
        yield server


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def monitoring() -> Iterator[HttpReceiver]:
    """A receiver of OTLP and of OpenLineage, to which all components of the cluster send."""
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def cluster(
    emulator: EmulatorServer,
    output: Path,
    monitoring: HttpReceiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    dags = copy_examples(folder / "dags", f"file://{output}")
    (dags / "test_dags.py").write_text(TEST_DAGS)
    # The image of the asset lands on the triggerer.
    campaign = dags / "flux_assets.py"
    deferred = campaign.read_text().replace("deferrable=True", "deferrable=True, inline_wait=0")
    campaign.write_text(deferred)
    environment = flux_environment(emulator, output) | {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    environment |= monitoring_environment(monitoring.url)
    with Cluster(folder, dags, env=environment) as running:
        init_pool(running, POOL_SLOTS)
        running.create_pool("only_slot", 1, include_deferred=False)
        yield running


@pytest.fixture(autouse=True)
def fresh_counts(emulator: EmulatorServer) -> None:
    emulator.reset()


def init_pool(cluster: Cluster, slots: int) -> None:
    """Create the pool of the examples with the command that an administrator uses."""
    command = [sys.executable, "-m", "airflow_provider_flux", "init-pool", "--slots", str(slots)]
    subprocess.run(command, env=cluster.env, check=True, capture_output=True)


def succeed(cluster: Cluster, dag_id: str) -> DagRun:
    """Run a DAG and assert that it succeeds."""
    run = cluster.run_dag(dag_id)
    assert cluster.wait(run) == "success", cluster.dump()
    return run


def wait_for_all_runs(cluster: Cluster, dag_id: str) -> int:
    """Wait until every run of a DAG has succeeded, scheduled ones included; return their number."""
    states = "SELECT state FROM dag_run WHERE dag_id = :dag_id"
    assert wait_until(
        lambda: {row[0] for row in cluster.sql(states, dag_id=dag_id)} == {"success"}, 60
    )
    return len(cluster.sql(states, dag_id=dag_id))


@pytest.mark.parametrize(
    ("dag_id", "folder"), [("flux_hero_image", "hero"), ("flux_hero_deferred", "hero-deferred")]
)
def test_the_hero_image_is_submitted_once_and_lands(
    cluster: Cluster, emulator: EmulatorServer, output: Path, dag_id: str, folder: str
) -> None:
    run = succeed(cluster, dag_id)
    landed = cluster.xcom(run, "land")
    (file,) = (output / folder).glob("*.jpeg")
    assert landed["image"]["uri"] == f"file://{file}"
    with Image.open(file) as image:
        assert image.size == (1024, 1024)
    assert emulator.stats()["submits"] == wait_for_all_runs(cluster, dag_id)
    assert cluster.trigger_rows() == []


def test_one_task_generates_and_lands_an_image(
    cluster: Cluster, emulator: EmulatorServer, output: Path
) -> None:
    run = succeed(cluster, "flux_single_task")
    generation = cluster.xcom(run, "generate")
    file = output / "single" / f"{generation['request_id']}-{generation['seed']}.png"
    assert file.stat().st_size == generation["image"]["bytes"]
    assert (generation["image"]["width"], generation["image"]["height"]) == (1440, 960)


def test_the_dag_of_the_readme_lands_its_image(cluster: Cluster, output: Path) -> None:
    run = succeed(cluster, "flux_ten_lines")
    uri = cluster.xcom(run, "hero")["image"]["uri"]
    assert uri.startswith(f"file://{output}")
    assert Path(uri.removeprefix("file://")).exists()


def test_mapped_prompts_stay_within_the_slots_of_their_pool(
    cluster: Cluster, emulator: EmulatorServer, output: Path
) -> None:
    run = succeed(cluster, "flux_mapped")
    names = sorted(
        path.name for path in (output / "mapped" / run.run_id).iterdir() if path.is_file()
    )
    suffixes = ("", ".json", ".thumb.webp")
    assert names == [f"00{n}.jpeg{suffix}" for n in range(4) for suffix in suffixes]
    assert emulator.stats()["submits"] == 4
    assert emulator.stats()["max_active"] <= POOL_SLOTS


def test_a_product_catalogue_submits_new_products_only(
    cluster: Cluster, emulator: EmulatorServer, output: Path
) -> None:
    succeed(cluster, "flux_product_catalog")
    wait_for_all_runs(cluster, "flux_product_catalog")
    with closing(sqlite3.connect(output / "catalog.db")) as db:
        rows = db.execute("SELECT sku, uri, seed, credits FROM images ORDER BY sku").fetchall()
        assert [row[0] for row in rows] == ["BAG-12", "CHAIR-3", "LAMP-01", "MUG-07"]
        assert all(Path(row[1].removeprefix("file://")).exists() for row in rows)
        assert {row[2:] for row in rows} == {(1, 4.0)}
        db.execute("DELETE FROM images WHERE sku = 'MUG-07'")
        db.commit()
    assert emulator.stats()["submits"] == 4
    succeed(cluster, "flux_product_catalog")
    assert emulator.stats()["submits"] == 5


def test_a_nightly_catalogue_continues_with_the_next_products(
    cluster: Cluster, emulator: EmulatorServer, output: Path
) -> None:
    table = output / "nightly.db"
    conf = {"database": str(table), "products": 30, "max_cost": 50}
    summaries = []
    for _ in range(2):
        run = cluster.run_dag("flux_nightly_catalogue", conf)
        assert cluster.wait(run) == "success", cluster.dump()
        summaries.append(cluster.xcom(run, "generate"))
    assert [(summary["landed"], summary["credits"]) for summary in summaries] == [
        (30, 42),
        (30, 42),
    ]
    with closing(sqlite3.connect(table)) as db:
        rows = db.execute(
            "SELECT sku, image FROM products WHERE outcome = 'landed' ORDER BY sku"
        ).fetchall()
    assert [sku for sku, _ in rows] == [f"P-{number:04d}" for number in range(1, 61)]
    assert all(Path(uri.removeprefix("file://")).exists() for _, uri in rows)
    assert emulator.stats()["submits"] == 60

    run = cluster.run_dag("flux_nightly_catalogue", {**conf, "max_cost": 1})
    assert cluster.wait(run) == "failed"
    states = {row.task_id: row.state for row in cluster.task_instances(run)}
    assert states["generate"] == "failed"
    assert (states["load"], states["report"]) == ("skipped", "upstream_failed")
    assert "FluxBudgetError" in cluster.task_log(run, "generate")
    assert emulator.stats()["submits"] == 60


def test_a_dag_scheduled_by_an_asset_reads_the_image_that_the_trigger_landed(
    cluster: Cluster, emulator: EmulatorServer
) -> None:
    cluster.wait_parsed("flux_campaign_page")
    cluster.rest.patch("/dags/flux_campaign_page", {"is_paused": False})
    run = succeed(cluster, "flux_campaign")
    runs = "SELECT run_id FROM dag_run WHERE dag_id = 'flux_campaign_page'"
    assert wait_until(lambda: bool(cluster.sql(runs)), 60), cluster.dump()
    page = DagRun("flux_campaign_page", cluster.sql(runs)[0][0])
    assert cluster.wait(page) == "success", cluster.dump()
    hero = cluster.xcom(run, "hero")
    members = {name: hero["image"][name] for name in ("uri", "width", "height")}
    assert cluster.xcom(page, "publish") == [members | {"seed": hero["seed"], "cost": 4}]
    assert "trigger" in cluster.task_log(run, "hero").lower()


def test_the_worker_slot_is_free_while_the_image_is_generated(
    cluster: Cluster, emulator: EmulatorServer
) -> None:
    """Fault 37: under load, the image was ready before the other task had ended."""
    run = cluster.run_dag("one_slot")
    cluster.wait_task(run, "generate", "deferred")
    cluster.wait_task(run, "neighbour", "success")
    (generate,) = [row for row in cluster.task_instances(run) if row.task_id == "generate"]
    assert generate.state == "deferred"
    assert len(cluster.trigger_rows()) == 1
    assert emulator.release() == 1
    assert cluster.wait(run) == "success", cluster.dump()


def test_a_connection_in_the_database_works_on_the_triggerer(
    cluster: Cluster, emulator: EmulatorServer
) -> None:
    command = [sys.executable, "-m", "airflow", "connections", "add", "flux_in_database"]
    connection = {"conn_type": "flux", "password": KEY, "host": emulator.url}
    subprocess.run(
        [*command, "--conn-json", json.dumps(connection)],
        env=cluster.env,
        check=True,
        capture_output=True,
    )
    run = succeed(cluster, "connection_in_database")
    assert cluster.xcom(run, "generate")["status"] == "Ready"
    assert "hand_over" not in cluster.task_log(run, "generate")
    assert emulator.stats()["submits"] == 1


def test_the_test_button_works_for_a_connection_saved_as_documented(
    cluster: Cluster, emulator: EmulatorServer
) -> None:
    """Fault 34: Airflow refused the test, because the UI sends port 0 for a missing port."""
    command = [sys.executable, "-m", "airflow", "connections", "add", "flux_with_button"]
    options = ["--conn-type", "flux", "--conn-password", KEY, "--conn-host", emulator.url]
    subprocess.run(
        [*command, *options, "--conn-port", "0"], env=cluster.env, check=True, capture_output=True
    )
    stored = cluster.rest.get("/connections/flux_with_button")
    texts = ("conn_type", "connection_id", "description", "extra", "host", "password", "schema")
    sent = {name: stored[name] or "" for name in texts} | {"login": "", "port": stored["port"] or 0}
    answer = cluster.rest.post("/connections/test", sent | {"extra": stored["extra"] or "{}"})
    assert answer["status"], answer
    assert "credits left" in answer["message"]


def test_a_deferred_image_reaches_traces_metrics_lineage_and_the_api_of_links(
    cluster: Cluster, monitoring: HttpReceiver
) -> None:
    pytest.importorskip("opentelemetry.proto")
    run = succeed(cluster, "observed")
    image = cluster.xcom(run, "hero")["image"]

    def own_spans() -> dict[str, Any]:
        parents = {
            span.span_id
            for span in monitoring.spans()
            if attributes_of(span).get("airflow.dag_id") == "observed"
        }
        spans = monitoring.spans()
        parents |= {span.span_id for span in spans if span.parent_span_id in parents}
        return {span.name: span for span in spans if span.parent_span_id in parents}

    def metric_names() -> set[str]:
        return {metric.name for metric in monitoring.metrics()}

    expected = {"airflow.flux.submits", "airflow.flux.outcomes", "airflow.flux.landing.duration"}
    assert wait_until(lambda: "flux.landing" in own_spans() and expected <= metric_names(), 60), (
        sorted(own_spans()),
        sorted(name for name in metric_names() if "flux" in name),
    )
    submit, landing = own_spans()["flux.submit"], own_spans()["flux.landing"]
    assert attributes_of(submit)["flux.credits"] == 4
    assert attributes_of(submit)["gen_ai.request.model"] == "flux-pro-1.1"
    assert submit.trace_id == landing.trace_id
    assert submit.end_time_unix_nano <= landing.start_time_unix_nano

    links = cluster.rest.get(f"{run.path}/taskInstances/hero/links")
    gallery = f"/flux/dags/observed/runs/{quote(run.run_id, safe='')}/tasks/hero"
    # No console shows a local folder.
    assert links["extra_links"] == {"Gallery": gallery, "Landed image": None}
    assert "[error" not in cluster.task_log(run, "hero")

    if find_spec("airflow.providers.openlineage"):

        def outputs() -> list[tuple[str, str]]:
            return [
                (dataset["namespace"], dataset["name"])
                for event in monitoring.lineage_events()
                if event["eventType"] == "COMPLETE" and event["job"]["name"] == "observed.hero"
                for dataset in event["outputs"]
            ]

        path = image["uri"].removeprefix("file://")
        assert wait_until(lambda: outputs() == [("file", path)], 60), outputs()
    for _, body in monitoring.bodies:
        for canary in (KEY, WEBHOOK_SECRET, "sig=", PROMPT_CANARY):
            assert canary.encode() not in body


def test_no_secret_is_in_logs_or_database(
    cluster: Cluster, emulator: EmulatorServer, output: Path
) -> None:
    run = cluster.run_dag("canaries")
    cluster.wait(run)
    states = {row.task_id: row.state for row in cluster.task_instances(run)}
    succeeded = {task for task, state in states.items() if state == "success"}
    assert succeeded == {"landed", "webhook", "literal"}, cluster.dump()
    assert emulator.stats()["key_seen_on_delivery"] == 0
    canaries = (KEY, WEBHOOK_SECRET, LITERAL_SECRET, "sig=")
    searched = 0
    for name, text in cluster.all_text():
        searched += len(text)
        if name.startswith("dag_code") or "test_dags.py" in name:
            continue  # Airflow stores the source of DAG files, with the literals in it
        for canary in canaries:
            assert canary not in text, f"{canary[:8]}... in {name}"
    assert searched > 10_000
