"""Landing on the triggerer, by the right connection; if it cannot, the worker lands the image."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.deferral import STATE_XCOM
from airflow_provider_flux.triggers.result import FluxResultTrigger
from tests.conftest import KEY
from tests.support.cutting_proxy import CuttingProxy
from tests.support.image_task import image_task, read_image, read_sidecar, task_context
from tests.support.object_stores import BucketStore, S3Store, Store
from tests.support.run_operator import run_trigger

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CLOUDS = pytest.mark.parametrize("store", ["s3", "gs", "abfs"], indirect=True)
S3 = pytest.mark.parametrize("store", ["s3"], indirect=True)


@dataclass
class Deferral:
    """A deferred task.

    :ivar context: context of the task, with the XComs that outlive the deferral.
    :ivar deferred: the exception that a task defers with.
    """

    task: Any
    context: Any
    deferred: TaskDeferred

    @property
    def trigger(self) -> Any:
        return self.deferred.trigger

    def resume(self, event: dict[str, Any]) -> Any:
        """Resume the task with an event of its trigger."""
        return self.task.resume_execution(self.deferred.method_name, {"event": event}, self.context)


def defer(task: Any) -> Deferral:
    """Execute a task up to its deferral."""
    context = task_context(task)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    return Deferral(task, context, caught.value)


def test_a_trigger_that_landed_an_image_fires_an_event_without_secrets(
    emulator: EmulatorServer, store: Store
) -> None:
    parameters = {"webhook_url": "http://127.0.0.1:9/?canary", "webhook_secret": "s3cret-canary"}
    task = image_task(
        f"{store.root}/x.{{ext}}",
        way="deferred",
        hide_prompt=True,
        prompt="the canary prompt",
        **parameters,
    )
    waiting = defer(task)
    event = asyncio.run(run_trigger(waiting.trigger))
    assert event["status"] == "landed"
    assert store.names() == ["x.jpeg", "x.jpeg.json", "x.jpeg.thumb.webp"]
    stored = json.dumps([waiting.trigger.serialize(), waiting.deferred.kwargs, event])
    assert not [
        secret for secret in ("canary", KEY, "sig=", "testtest", "AccountKey") if secret in stored
    ]
    polls = emulator.stats()["polls"]
    assert waiting.resume(event) == event["generation"]
    assert emulator.stats()["polls"] == polls
    assert (emulator.stats()["submits"], emulator.stats()["downloads"]) == (1, 1)


@CLOUDS
def test_the_worker_lands_an_image_if_the_triggerer_has_no_connection_to_the_store(
    emulator: EmulatorServer,
    store: BucketStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = image_task(f"{store.root}/x.{{ext}}", way="deferred")
    waiting, name = defer(task), f"AIRFLOW_CONN_{store.conn_id.upper()}"
    connection = os.environ[name]
    monkeypatch.delenv(name)
    event = asyncio.run(run_trigger(waiting.trigger))
    assert event["status"] == "ready"
    assert store.conn_id in event["reason"]
    assert store.names() == []
    monkeypatch.setenv(name, connection)
    lines: list[str] = []
    task.log.warning = lambda text, *values: lines.append(text % values)  # type: ignore[method-assign]
    generation = waiting.resume(event)
    assert any(store.conn_id in line for line in lines)
    assert len(read_image(store, generation)) == generation["image"]["bytes"]
    assert read_sidecar(store, generation)["run"]["run_id"] == "monday"
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"path": "/x"},
        {"target": {"path": 5}},
        {"target": {"path": "/x", "options": {"if_exists": "melt"}}},
        [],
        "x",
    ],
)
def test_the_worker_lands_an_image_whose_plan_the_trigger_cannot_read(
    emulator: EmulatorServer, tmp_path: Any, plan: Any
) -> None:
    task = image_task(f"{tmp_path}/x.{{ext}}", way="deferred")
    waiting = defer(task)
    waiting.trigger.landing_plan = plan
    event = asyncio.run(run_trigger(waiting.trigger))
    assert (event["status"], event["reason"][:40]) == (
        "ready",
        "the triggerer could not land the image (",
    )
    waiting.context["ti"].xcoms[STATE_XCOM]["landing_plan"] = plan
    assert waiting.resume(event)["image"]["uri"] == f"{tmp_path}/x.jpeg"


@S3
def test_a_trigger_in_a_fresh_interpreter_uses_the_connection_of_the_store(
    emulator: EmulatorServer, store: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's S3 filesystem silently uses the real AWS if it is first built on a running loop."""
    waiting = defer(image_task(f"{store.root}/x.{{ext}}", way="deferred"))
    _, kwargs = waiting.trigger.serialize()
    without_credentials = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "none",
    }
    process = subprocess.run(
        [sys.executable, "-m", "tests.support.trigger_process"],
        input=json.dumps(kwargs),
        env={**os.environ, **without_credentials},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    events = [line for line in process.stdout.splitlines() if line.startswith("EVENT ")]
    assert events, process.stderr[-2000:]
    event = json.loads(events[0].removeprefix("EVENT "))
    assert event["status"] == "landed", event.get("reason")
    assert len(read_image(store, event["generation"])) == event["generation"]["image"]["bytes"]
    assert store.names() == ["x.jpeg", "x.jpeg.json", "x.jpeg.thumb.webp"]


@S3
@pytest.mark.parametrize("if_exists", ["overwrite", "error"])
async def test_a_trigger_that_is_cancelled_and_runs_again_lands_one_image(
    emulator: EmulatorServer, store: S3Store, monkeypatch: pytest.MonkeyPatch, if_exists: Any
) -> None:
    with CuttingProxy(store.url) as proxy:
        conn_id = f"s3_{uuid4().hex}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", store.connection(proxy.url))
        path = f"{store.root_by(conn_id)}/{{request_id}}.{{ext}}"
        task = image_task(path, way="deferred", if_exists=if_exists, renditions={})
        waiting = await asyncio.to_thread(defer, task)
        proxy.delay = 0.6
        work = asyncio.create_task(run_trigger(waiting.trigger))
        while not proxy.large:
            assert not work.done()
            await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        event = await run_trigger(waiting.trigger)
        await asyncio.sleep(1.5)
        assert event["status"] == "landed", event.get("reason")
        assert proxy.large == 2
    name = f"{event['generation']['request_id']}.jpeg"
    assert store.names() == [name, f"{name}.json"]
    assert len(read_image(store, event["generation"])) == event["generation"]["image"]["bytes"]
    assert emulator.stats()["submits"] == 1


@S3
async def test_the_loop_of_the_triggerer_stays_responsive_while_images_land(
    emulator: EmulatorServer, store: S3Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine measures the lag of the loop while 8 images land."""
    tasks = [
        image_task(f"{store.root}/{n}.{{ext}}", f"fox {n}", "deferred", output_format="png")
        for n in range(8)
    ]
    waiting = [await asyncio.to_thread(defer, task) for task in tasks]
    # The first run imports in a thread, which still holds the interpreter.
    await run_trigger(waiting[0].trigger)
    lags: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            lags.append(time.perf_counter() - before - 0.01)

    watching = asyncio.create_task(watch())
    events = await asyncio.gather(*[run_trigger(deferral.trigger) for deferral in waiting])
    watching.cancel()
    assert [event["status"] for event in events] == ["landed"] * 8
    assert max(lags) < 0.5
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_trigger_keeps_its_landing_plan_through_the_database() -> None:
    plan = {"target": {"path": "/x", "index": 3}}
    record: Any = {"request_id": "r"}
    made = FluxResultTrigger(flux_conn_id="c", generation=record, deadline=1.0, landing_plan=plan)
    _, kwargs = made.serialize()
    assert FluxResultTrigger(**json.loads(json.dumps(kwargs))).serialize() == made.serialize()
