"""A frozen triggerer that wakes up when another one has done its work: nothing is done twice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.support.cluster.checkpointed_cluster import (
    FAST_TRIGGER_FAILOVER,
    HAS_TASK_STATE_STORE,
    Site,
    open_site,
)
from tests.support.cluster.harness import DagRun
from tests.support.cluster.kill import AT_READY, signal_family
from tests.support.cluster.processes import Component, wait_until
from tests.support.cluster.verdict import ImageTask, assert_paid_once_and_landed, logs_of, row_of

pytestmark = pytest.mark.cluster

#: The images of each task. The triggerer is frozen when BFL answers that the first is ready. The
#: second becomes ready when another triggerer has the triggers, and the third when both run.
MOMENTS = ("first", "second", "third")
PROMPT = "{run_id} {task_id} {moment} [[fault:held]]"
DAGS = """
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

for dag_id in ("frozen", "beatless"):
    with DAG(dag_id, schedule=None):
        for task_id, landing in TASKS.items():
            prompts = [
                f"{{{{ run_id }}}} {task_id} {moment} [[fault:held]]" for moment in MOMENTS
            ]
            FluxGenerateOperator.partial(
                task_id=task_id, deferrable=True, inline_wait=0, retries=1, **landing
            ).expand(prompt=prompts)
"""
LANDED = {"output_path": "s3://my_s3@versions/out/{{ run_id }}/{key}.{ext}"}
TASKS = {"image": LANDED, **({"unlanded": {}} if HAS_TASK_STATE_STORE else {})}


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    dags = DAGS.replace("TASKS", repr(TASKS)).replace("MOMENTS", repr(MOMENTS))
    folder = tmp_path_factory.mktemp("site")
    with open_site(
        folder, dags, s3, bucket="versions", versioned=True, env=FAST_TRIGGER_FAILOVER
    ) as site:
        yield site


@pytest.fixture
def frozen(site: Site) -> Component:
    """The only triggerer that runs at first."""
    only, other = site.cluster.triggerers
    other.stop()
    return only


def test_images_of_a_frozen_triggerer_land_once(site: Site, frozen: Component) -> None:
    def send(sig: signal.Signals) -> None:
        signal_family(frozen, sig)

    for image in freeze(site, frozen, "frozen", send):
        generation = assert_paid_once_and_landed(site, image, submits=1, uncertain=0)
        assert_resumed_once(site, image)
        if image.lands:
            assert site.bucket.versions(site.bucket.key_of(generation["image"]["uri"])) == 1


def test_images_land_once_although_two_triggerers_run_the_same_triggers(
    site: Site, frozen: Component
) -> None:
    """Only its leader is frozen, so two triggerers run the same triggers for a while."""

    def send(sig: signal.Signals) -> None:
        frozen.signal(sig, group=False)

    for image in freeze(site, frozen, "beatless", send):
        assert_paid_once_and_landed(site, image, submits=1, uncertain=0)
        assert_resumed_once(site, image)


def freeze(
    site: Site, frozen: Component, dag_id: str, send: Callable[[signal.Signals], object]
) -> list[ImageTask]:
    """Run a DAG, freeze the triggerer when the first image is ready until another one works."""
    run_id = f"{dag_id}-{uuid4().hex[:8]}"
    first = PROMPT.format(run_id=run_id, task_id="image", moment="first")
    strike = site.bfl.plan(first, AT_READY, lambda _pid: send(signal.SIGSTOP))
    run = site.cluster.run_dag(dag_id, run_id=run_id)
    images = [
        ImageTask(
            run,
            PROMPT.format(run_id=run_id, task_id=task_id, moment=moment),
            task_id,
            index,
            task_id == "image",
        )
        for task_id in TASKS
        for index, moment in enumerate(MOMENTS)
    ]
    owners = [frozen.name] * len(images)
    assert wait_until(lambda: _owners(site, run) == owners, 180), site.cluster.dump()
    site.emulator.release(f"{run_id} image first")
    assert strike.done.wait(120)
    assert strike.error is None
    other = site.cluster.triggerers[1]
    other.start()
    assert wait_until(lambda: set(_owners(site, run)) == {other.name}, 180), site.cluster.dump()
    for task_id in TASKS:
        site.emulator.release(f"{run_id} {task_id} second")
    seconds = [image for image in images if image.map_index == 1]
    assert wait_until(
        lambda: all(row_of(site, image).state == "success" for image in seconds), 180
    ), site.cluster.dump()
    send(signal.SIGCONT)
    site.emulator.release(run_id)
    assert site.cluster.wait(run) == "success", site.cluster.dump()
    return images


def _owners(site: Site, run: DagRun) -> list[str | None]:
    """Return the triggerer of each trigger of a run; ``None`` if none runs it."""
    return [row.triggerer for row in site.cluster.trigger_rows() if row.run_id == run.run_id]


def assert_resumed_once(site: Site, image: ImageTask) -> None:
    """Assert that the task resumed once and logged no kill.

    Airflow calls ``on_kill`` of a trigger that moves to another triggerer, too.
    """
    log = logs_of(site, image)
    assert log.count("is ready, seed") == 1, log
    for forbidden in ("BFL has no cancel", "killed", "was ended", "has ended as"):
        assert forbidden.lower() not in log.lower(), log
