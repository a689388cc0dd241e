"""Webhooks of the emulator to the API server of a whole Airflow."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from airflow_provider_flux.bfl.webhook import make_reference
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.airflow_names import AIRFLOW
from tests.support.cluster.checkpointed_cluster import DEFAULT_THRESHOLDS
from tests.support.cluster.harness import Cluster, DagRun
from tests.support.cluster.processes import free_port, wait_until

from .conftest import WEBHOOK_SECRET, flux_environment

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(AIRFLOW < (3, 1), reason="the plugin needs Airflow 3.1"),
]

#: Webhooks that arrive together, each of them twice.
AT_ONCE = int(os.environ.get("FLUX_WEBHOOKS", "100"))
#: The trigger polls once a minute beside a webhook, so a task that ended sooner was resumed by it.
POLL_SECONDS = 60
DAGS = """
from airflow.sdk import DAG, Asset, task

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

OUTPUT = "{{ var.value.flux_output }}"
READY = Asset("ready", uri="x-flux://ready")
SMALL = {"width": 256, "height": 256, "prompt": "{{ run_id }} [[fault:held]]"}

for name in ("receiver", "nobody"):
    with DAG(f"deferred_{name}", schedule=None):
        FluxGenerateOperator(
            task_id="hero",
            webhook_url=f"{{{{ var.value.{name} }}}}",
            output_path=f"{OUTPUT}/{{{{ run_id }}}}/hero.{{ext}}",
            outlets=[Asset(f"hero_{name}")],
            deferrable=True,
            inline_wait=0,
            **SMALL,
        )

for name in ("submitted", "seeded"):
    with DAG(name, schedule=None):
        FluxGenerateOperator(
            task_id="hero",
            webhook_url="{{ var.value.receiver }}",
            wait=False,
            ready_asset=READY,
            **SMALL,
        )

with DAG("landing", schedule=[READY]):

    @task
    def ready(triggering_asset_events=None):
        return [event.extra for events in triggering_asset_events.values() for event in events]

    FluxToObjectStorageOperator(
        task_id="land", generation=ready(), output_path=f"{OUTPUT}/ready/{{request_id}}.{{ext}}"
    )
"""
EVENTS = """
    select e.extra from asset_event e join asset a on a.id = e.asset_id where a.name = :name
"""
TASK_ID = "select id, state from task_instance where dag_id = :dag_id and run_id = :run_id"


@dataclass(frozen=True)
class Site:
    """The parts that a test uses.

    :ivar cluster: the Airflow deployment.
    :ivar emulator: the emulator of BFL.
    :ivar output: the folder of the images.
    """

    cluster: Cluster
    emulator: EmulatorServer
    output: Path

    @property
    def receiver(self) -> str:
        """URL of the receiver."""
        return f"{self.cluster.api_url}/flux/webhooks"

    def events(self, asset: str) -> list[dict[str, Any]]:
        """Return the extras of the events of an asset."""
        return [extra for (extra,) in self.cluster.sql(EVENTS, name=asset)]

    def run_until_deferred(self, dag_id: str, run_id: str) -> DagRun:
        """Run a DAG until its task has waited long enough for a webhook to resume it."""
        run = self.cluster.run_dag(dag_id, run_id=run_id)
        self.cluster.wait_task(run, "hero", "deferred")
        time.sleep(15)  # a trigger fires no event in the first seconds, see FluxResultTrigger
        return run

    def post(self, run: DagRun, request_id: str, secret: str = WEBHOOK_SECRET) -> httpx.Response:
        """Post a webhook for the task of a run."""
        ((task_instance, _),) = self.cluster.sql(TASK_ID, dag_id=run.dag_id, run_id=run.run_id)
        reference = make_reference(UUID(str(task_instance)), WEBHOOK_SECRET)
        return httpx.post(
            f"{self.receiver}/{reference}",
            json={"id": request_id, "status": "Ready"},
            headers={"X-Webhook-Secret": secret},
            timeout=60,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("webhooks")
    output = folder / "out"
    (folder / "dags").mkdir()
    (folder / "dags" / "dags.py").write_text(DAGS)
    with EmulatorServer(EmulatorConfig(latency=1, credits=1_000_000)) as emulator:
        environment = flux_environment(emulator, output)
        connection = json.loads(environment["AIRFLOW_CONN_FLUX_DEFAULT"])
        connection["extra"]["webhook_hosts"] = ["127.0.0.1"]
        environment |= {
            **DEFAULT_THRESHOLDS,
            "AIRFLOW_CONN_FLUX_DEFAULT": json.dumps(connection),
            "AIRFLOW__FLUX__WEBHOOKS": "True",
            "AIRFLOW_VAR_NOBODY": f"http://127.0.0.1:{free_port()}/flux/webhooks",
        }
        with Cluster(folder, folder / "dags", env=environment) as cluster:
            site = Site(cluster, emulator, output)
            cluster.rest.post("/variables", {"key": "receiver", "value": site.receiver})
            cluster.wait_parsed("landing")
            cluster.rest.patch("/dags/landing", {"is_paused": False})
            yield site


def test_a_webhook_resumes_its_deferred_task_at_once(site: Site) -> None:
    run = site.run_until_deferred("deferred_receiver", "good")
    refused = site.post(run, "whatever", secret="wrong")
    assert refused.status_code == 401
    released = time.monotonic()
    assert site.emulator.release("good") == 1
    assert site.cluster.wait(run) == "success", site.cluster.dump()
    seconds = time.monotonic() - released
    sys.stdout.write(f"from the webhook to the end of the run: {seconds:.1f} s\n")
    assert seconds < POLL_SECONDS
    assert "A webhook of BFL reported the end" in site.cluster.task_log(run, "hero")
    (event,) = site.events("hero_receiver")
    assert [path.name for path in (site.output / "good").glob("hero.jpeg")] == ["hero.jpeg"]
    replayed = site.post(run, event["request_id"])
    assert (replayed.status_code, replayed.json()) == (200, {"outcome": "ignored"})
    assert len(site.events("hero_receiver")) == 1
    assert site.emulator.stats()["submits_per_prompt"]["good [[fault:held]]"] == 1


def test_without_a_webhook_the_polls_land_the_image(site: Site) -> None:
    run = site.run_until_deferred("deferred_nobody", "never")
    site.emulator.release("never")
    assert site.cluster.wait(run, POLL_SECONDS * 3) == "success", site.cluster.dump()
    assert len(site.events("hero_nobody")) == 1
    assert (site.output / "never" / "hero.jpeg").exists()


def test_a_task_that_only_submits_schedules_the_dag_that_lands_its_image(site: Site) -> None:
    run = site.cluster.run_dag("submitted", run_id="fire-and-forget")
    assert site.cluster.wait(run) == "success", site.cluster.dump()
    assert site.events("ready") == []
    site.emulator.release("fire-and-forget")
    folder = site.output / "ready"
    assert wait_until(lambda: len(list(folder.glob("*.jpeg"))) == 1, 180), site.cluster.dump()
    (event,) = site.events("ready")
    assert [path.stem for path in folder.glob("*.jpeg")] == [event["request_id"]]


def test_many_webhooks_at_once_each_give_one_event_and_one_image(site: Site) -> None:
    before = len(site.events("ready"))
    program = [sys.executable, "-m", "tests.support.cluster.seed_submitted"]
    seeded = subprocess.run(
        [*program, "seeded", str(AT_ONCE), f"http://127.0.0.1:{free_port()}/flux/webhooks"],
        env=site.cluster.env,
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    pairs = json.loads(seeded.stdout.splitlines()[-1])
    assert len({request_id for _, request_id in pairs}) == AT_ONCE
    started = time.monotonic()
    answers = asyncio.run(post_all(site.receiver, pairs))
    seconds = time.monotonic() - started
    sys.stdout.write(f"{len(answers)} webhooks: {seconds:.1f} s, {Counter(answers)}\n")
    assert Counter(answers) == {(200, "emitted"): AT_ONCE, (200, "ignored"): AT_ONCE}
    extras = site.events("ready")[before:]
    assert Counter(extra["request_id"] for extra in extras) == Counter(
        request_id for _, request_id in pairs
    )
    requests = {request_id for _, request_id in pairs}

    def has_landed_all() -> bool:
        return requests <= {path.stem for path in (site.output / "ready").glob("*.jpeg")}

    assert wait_until(has_landed_all, 600), site.cluster.dump()


async def post_all(receiver: str, pairs: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """Post each webhook twice, all of them together, and return status and outcome of each."""
    headers = {"X-Webhook-Secret": WEBHOOK_SECRET}
    both = [*pairs, *pairs]
    random.shuffle(both)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, timeout=300, limits=limits) as client:

        async def post(task_instance: str, request_id: str) -> tuple[int, str]:
            reference = make_reference(UUID(task_instance), WEBHOOK_SECRET)
            payload = {"id": request_id, "status": "Ready"}
            response = await client.post(f"{receiver}/{reference}", json=payload)
            return response.status_code, response.json()["outcome"]

        return await asyncio.gather(*(post(*pair) for pair in both))
