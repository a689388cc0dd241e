"""Real processes that want the same images at the same time, and owners of claims that are killed.

Two processes want the same images in S3: one runs a batch, the other one task for each image. The
owner of a claim is killed once its image is billed, and once only its claim is left.
``FLUX_CLAIM_PROCESSES=8`` lets that many processes want 20 images, in a folder and in S3. Half of
them run batches. It also kills tasks and batches at each point.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.batch_tries import prompts
from tests.support.claiming_process import ClaimingProcess, Order, Point
from tests.support.landing_process import DIED
from tests.support.object_stores import Store

PROCESSES = int(os.environ.get("FLUX_CLAIM_PROCESSES", "2"))
IS_SOAK = "FLUX_CLAIM_PROCESSES" in os.environ
IMAGES = 20 if IS_SOAK else 3
STORES = ["file", "s3"] if IS_SOAK else ["s3"]
#: Where an owner is killed, and whether it is a batch.
KILLS: list[tuple[Point, bool]] = [("submitted", True), ("landed", False)]
if IS_SOAK:
    KILLS = [(point, is_batch) for point in get_args(Point) for is_batch in (False, True)]
ENVIRONMENT_NAMES = ("AIRFLOW_CONN_", "AIRFLOW_HOME", "AIRFLOW__")


@pytest.fixture
def service(connect: Any) -> Iterator[EmulatorServer]:
    with EmulatorServer(EmulatorConfig(latency=0.3)) as server:
        connect(server.url)
        yield server


def order(folder: str, dag_id: str, images: tuple[str, ...], **more: Any) -> Order:
    """Return the order of a process: its images have names of its own below a common folder."""
    environment = {
        name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT_NAMES)
    }
    arguments: dict[str, Any] = {}
    if more.get("is_batch"):
        arguments = {"ledger_path": f"{folder}/ledger-{dag_id}"}
        arguments["manifest_path"] = f"{folder}/manifest-{dag_id}.jsonl"
    path = f"{folder}/{{key}}-{dag_id}.{{ext}}"
    return Order(environment, dag_id, path, images, arguments=arguments, **more)


def submits(service: EmulatorServer) -> int:
    return int(service.stats()["submits"])


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_of_many_processes_each_image_is_paid_for_once(
    service: EmulatorServer, store: Store
) -> None:
    images = tuple(prompts(IMAGES))
    orders = [
        order(store.root, f"dag{number}", images, is_batch=number % 2 == 0)
        for number in range(PROCESSES)
    ]
    with ExitStack() as stack:
        running = [stack.enter_context(ClaimingProcess(each)) for each in orders]
        results = [process.result() for process in running]
    assert [len(result) for result in results] == [IMAGES] * PROCESSES, results
    assert {tuple(result) for result in results} == {tuple(results[0])}
    assert submits(service) == IMAGES
    assert [name for name in store.names() if name.endswith(".claim")] == []


@pytest.mark.parametrize(("point", "is_batch"), KILLS)
def test_after_the_death_of_an_owner_its_retry_lands_the_image_and_pays_once(
    service: EmulatorServer, tmp_path: Path, point: Point, is_batch: bool
) -> None:
    def run(dag_id: str, dies_at: Point | None = None) -> Any:
        made = order(str(tmp_path), dag_id, ("a fox",), is_batch=is_batch, dies_at=dies_at)
        with ClaimingProcess(made) as process:
            return process.result()

    assert run("owner", point) == DIED
    assert submits(service) == (0 if point == "claimed" else 1)
    assert len(list(tmp_path.glob("_flux/images/*.claim"))) == 1
    if point != "landed":
        with ClaimingProcess(order(str(tmp_path), "other", ("a fox",))) as waiter:
            time.sleep(1.0)
            retried, waited = run("owner"), waiter.result()
    else:
        retried, waited = run("owner"), run("other")
    assert retried == waited
    assert submits(service) == 1
    if not (is_batch and point == "landed"):  # then the journal says that nothing is left to do
        assert list(tmp_path.glob("_flux/images/*.claim")) == []
