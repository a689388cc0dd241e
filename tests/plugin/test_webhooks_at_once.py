"""Many webhooks that arrive together. tests/cluster has them on a whole Airflow."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from airflow.models.asset import AssetEvent
from airflow.sdk import Asset
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.bfl.webhook import make_reference
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.plugin import webhooks
from airflow_provider_flux.plugin.app import create_app
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.support.airflow_names import AIRFLOW
from tests.support.cluster.processes import free_port
from tests.support.cluster.seed_submitted import seed
from tests.support.run_operator import new_context
from tests.support.waiting_tasks import find, new_task_instance

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="the plugin needs Airflow 3.1")

SECRET = "whs_canary_of_the_connection"
#: Webhooks that arrive together, each of them twice; `make soak` sends 1,000.
AT_ONCE = int(os.environ.get("FLUX_WEBHOOKS", "250"))


@pytest.fixture
def rich() -> Iterator[EmulatorServer]:
    """An emulator whose account can pay all the images."""
    with EmulatorServer(EmulatorConfig(latency=0.2, credits=1_000_000)) as server:
        yield server


def make_task() -> FluxGenerateOperator:
    """Return the task of the seeded run; its outlet makes Airflow know the asset."""
    return FluxGenerateOperator(
        task_id="hero", prompt="x", wait=False, outlets=[Asset("ready", uri="x-flux://ready")]
    )


def test_many_webhooks_at_once_give_an_event_and_an_image_each(
    rich: EmulatorServer,
    connect: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    initdb()
    connect(rich.url, webhook_secret=SECRET)
    monkeypatch.setenv("AIRFLOW__FLUX__WEBHOOKS", "True")
    monkeypatch.setenv("AIRFLOW__FLUX__GALLERY", "False")
    monkeypatch.setattr(webhooks, "_receiver", webhooks.WebhookReceiver())
    with create_session() as session:
        dag_id = find(new_task_instance(make_task), session).dag_id
    pairs = seed(dag_id, AT_ONCE, f"http://127.0.0.1:{free_port()}/flux/webhooks")

    started = time.monotonic()
    answers = asyncio.run(post_all(pairs))
    seconds = time.monotonic() - started
    with capsys.disabled():
        sys.stdout.write(f"\n{len(answers)} webhooks in {seconds:.1f} s\n")
    assert Counter(answers) == {(200, "emitted"): AT_ONCE, (200, "ignored"): AT_ONCE}
    extras = events_of(dag_id)
    assert sorted(extra["request_id"] for extra in extras) == sorted(id_ for _, id_ in pairs)

    landing = FluxToObjectStorageOperator(
        task_id="land", generation=extras, output_path=f"file://{tmp_path}/{{request_id}}.{{ext}}"
    )
    landed = landing.execute(new_context())
    assert len(landed) == AT_ONCE
    images = {path.stem for path in tmp_path.glob("*.jpeg")}
    assert {request_id for _, request_id in pairs} <= images
    assert rich.stats()["submits"] == AT_ONCE


async def post_all(pairs: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """Post each webhook twice, all of them together, and return status and outcome of each."""
    both = [*pairs, *pairs]
    random.shuffle(both)
    transport = httpx.ASGITransport(create_app())
    headers = {"X-Webhook-Secret": SECRET}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://airflow", headers=headers, limits=limits
    ) as client:

        async def post(task_instance: str, request_id: str) -> tuple[int, str]:
            reference = make_reference(UUID(task_instance), SECRET)
            payload = {"id": request_id, "status": "Ready"}
            response = await client.post(f"/webhooks/{reference}", json=payload)
            return response.status_code, response.json()["outcome"]

        return await asyncio.gather(*(post(*pair) for pair in both))


def events_of(dag_id: str) -> list[dict[str, object]]:
    """Return the extras of the events of a DAG."""
    with create_session() as session:
        query = select(AssetEvent.extra).where(AssetEvent.source_dag_id == dag_id)
        return list(session.scalars(query))
