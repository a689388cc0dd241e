"""Images that have landed are found again after a failure, and not submitted again."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_flux.bfl.errors import FluxImageError, FluxStorageError
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.object_store.filesystem import run_async
from tests.support.image_task import copy_task, image_task, read_sidecar, run_task, task_context
from tests.support.object_stores import Store
from tests.support.run_operator import run_trigger
from tests.support.sample_media import make_image

pytestmark = pytest.mark.usefixtures("hurry")


@pytest.fixture
def forgetful(connect: Any) -> Any:
    """Run an emulator that forgets a result one second after it is ready."""
    with EmulatorServer(EmulatorConfig(latency=0.0, retention=1.0, url_lifetime=0.5)) as server:
        connect(server.url)
        yield server


def defer(task: Any, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    return caught.value


@pytest.mark.parametrize("name", ["hero.{ext}", "{request_id}.{ext}"])
def test_a_trigger_that_runs_again_finds_the_image_that_it_landed(
    forgetful: EmulatorServer, tmp_path: Path, name: str
) -> None:
    task = image_task(f"{tmp_path}/{name}", way="deferred")
    trigger = defer(task, task_context(task)).trigger
    first = asyncio.run(run_trigger(trigger))
    time.sleep(1.2)
    again = asyncio.run(run_trigger(trigger))
    assert (first["status"], again["status"]) == ("landed", "landed")
    assert again["generation"]["image"] == first["generation"]["image"]
    assert again["generation"]["seed"] == first["generation"]["seed"]


def test_a_task_whose_deferral_airflow_ends_finds_the_image_that_its_trigger_landed(
    forgetful: EmulatorServer, tmp_path: Path
) -> None:
    task = image_task(f"{tmp_path}/hero.{{ext}}", way="deferred")
    context = task_context(task)
    first = asyncio.run(run_trigger(defer(task, context).trigger))
    time.sleep(1.2)
    landed = task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert landed["image"] == first["generation"]["image"]


def test_a_landing_task_that_runs_again_finds_the_image_that_it_landed(
    forgetful: EmulatorServer, tmp_path: Path
) -> None:
    made = run_task(image_task(f"{tmp_path}/a/{{request_id}}.{{ext}}"))
    bare = {name: made[name] for name in ("request_id", "polling_url")}
    time.sleep(1.2)
    assert (
        run_task(copy_task(bare, f"{tmp_path}/a/{{request_id}}.{{ext}}"))["image"] == made["image"]
    )
    with pytest.raises(AirflowFailException, match="does not know"):
        run_task(copy_task(bare, f"{tmp_path}/b/{{request_id}}.{{ext}}"))


def test_a_sidecar_that_cannot_be_written_does_not_fail_the_task(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (tmp_path / "hero.jpeg.json").mkdir()
    image = run_task(image_task(f"{tmp_path}/hero.{{ext}}"))["image"]
    assert image["sidecar"] is None
    assert (tmp_path / "hero.jpeg").stat().st_size == image["bytes"]


def test_a_task_whose_deferral_airflow_ends_lands_by_the_original_plan(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """The input is gone, but its fingerprint is kept, so that the next task reuses the image."""
    source = tmp_path / "in.png"
    source.write_bytes(make_image())
    path = f"{tmp_path}/out/{{fingerprint}}.{{ext}}"
    asked = {
        "model": "flux-kontext-pro",
        "parameters": {"input_image": str(source)},
        "reuse": "always",
    }
    task = image_task(path, way="deferred", **asked)
    context = task_context(task)
    defer(task, context)
    assert "a fox" not in json.dumps(context["ti"].xcoms)
    source.unlink()
    landed = task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    source.write_bytes(make_image())
    again = run_task(image_task(path, **asked))
    assert (again["reused"], again["fingerprint"]) == (True, landed["fingerprint"])
    assert emulator.stats()["submits"] == 1
    described = json.loads(Path(landed["image"]["sidecar"]).read_text())
    assert described["request"]["parameters"]["input_image"]["sha256"]


@pytest.mark.parametrize("store", ["s3", "gs", "abfs"], indirect=True)
def test_a_missing_bucket_is_reported_before_the_submit(
    emulator: EmulatorServer, store: Any
) -> None:
    with pytest.raises(AirflowFailException, match="there is no bucket 'nowhere'"):
        run_task(image_task(f"{store.scheme}://{store.conn_id}@nowhere/hero.{{ext}}"))
    assert emulator.stats()["submits"] == 0


def test_an_image_with_mismatches_is_not_reused_if_on_mismatch_is_fail(
    emulator: EmulatorServer, store: Store
) -> None:
    wrong = image_task(f"{store.root}/hero.{{ext}}", "a fox [[fault:wrong-size]]", reuse="always")
    assert read_sidecar(store, run_task(wrong))["mismatches"]
    assert run_task(wrong)["reused"]
    strict = image_task(
        f"{store.root}/hero.{{ext}}",
        "a fox [[fault:wrong-size]]",
        reuse="always",
        on_mismatch="fail",
    )
    with pytest.raises(FluxImageError, match="differs from the request"):
        run_task(strict)
    assert emulator.stats()["submits"] == 2


async def test_an_operation_that_the_store_cancels_does_not_cancel_the_caller() -> None:
    async def broken_off() -> None:
        raise asyncio.CancelledError

    with pytest.raises(FluxStorageError, match="cancelled the operation"):
        await run_async(broken_off())
