"""A triggerer is frozen, and wakes up when another one has done its work: nothing is done twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.support.cluster.checkpointed_cluster import (
    HAS_TASK_STATE_STORE,
    QUICK_TO_MOVE,
    Site,
    open_site,
)
from tests.support.cluster.kill import AT_READY, signal_family
from tests.support.cluster.processes import Component
from tests.support.cluster.verdict import Order, assert_paid_once_and_landed, logs_of, row_of

pytestmark = pytest.mark.cluster

#: By DAG, what its images take from the submit. The triggerer is frozen the moment it is told that the first one is
#: ready; the second is ready while it is, and the third soon after.
SECONDS = {"frozen": (12, 38, 62), "beatless": (12, 32, 50)}
FROZEN_SECONDS = {"frozen": 38, "beatless": 28}
PROMPT = "{run_id} {task_id} [[fault:slow={seconds}]]"
DAGS = """
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

for dag_id, all_seconds in SECONDS.items():
    with DAG(dag_id, schedule=None):
        for task_id, landing in TASKS.items():
            FluxGenerateOperator.partial(task_id=task_id, deferrable=True, inline_wait=0, retries=1, **landing).expand(
                prompt=[f"{{{{ run_id }}}} {task_id} [[fault:slow={seconds}]]" for seconds in all_seconds]
            )
"""
LANDED = {"output_path": "s3://my_s3@versions/out/{{ run_id }}/{key}.{ext}"}
TASKS = {"image": LANDED, **({"unlanded": {}} if HAS_TASK_STATE_STORE else {})}


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    dags = DAGS.replace("TASKS", repr(TASKS)).replace("SECONDS", repr(SECONDS))
    folder = tmp_path_factory.mktemp("site")
    with open_site(folder, dags, s3, bucket="versions", versioned=True, env=QUICK_TO_MOVE) as site:
        yield site


@pytest.fixture
def frozen(site: Site) -> Component:
    """The only triggerer there is at first."""
    only, other = site.cluster.triggerers
    other.stop()
    return only


def test_a_triggerer_is_frozen(site: Site, frozen: Component) -> None:
    def send(sig: signal.Signals) -> None:
        signal_family(frozen, sig)

    for order in freeze(site, frozen, "frozen", send):
        found = assert_paid_once_and_landed(site, order, submits=1, uncertain=0)
        assert_gone_on_once(site, order)
        if order.lands:
            assert site.bucket.versions(site.bucket.key_of(found["image"]["uri"])) == 1


def test_a_triggerer_loses_its_heartbeat_alone(site: Site, frozen: Component) -> None:
    """Its leader is frozen, but not the process that runs its triggers: two run the same triggers for a while."""

    def send(sig: signal.Signals) -> None:
        frozen.signal(sig, group=False)

    for order in freeze(site, frozen, "beatless", send):
        assert_paid_once_and_landed(site, order, submits=1, uncertain=0)
        assert_gone_on_once(site, order)


def freeze(
    site: Site, frozen: Component, dag_id: str, send: Callable[[signal.Signals], object]
) -> list[Order]:
    """Run a DAG, freeze the triggerer for a while when the first image is ready, and wait for the end."""
    run_id = f"{dag_id}-{uuid4().hex[:8]}"
    first = PROMPT.format(run_id=run_id, task_id="image", seconds=SECONDS[dag_id][0])
    strike = site.bfl.at(first, AT_READY, lambda _pid: send(signal.SIGSTOP))
    run = site.cluster.run_dag(dag_id, run_id=run_id)
    assert strike.done.wait(90)
    assert strike.error is None
    assert {row.triggerer for row in site.cluster.trigger_rows()} == {frozen.name}
    site.cluster.triggerers[1].start()
    time.sleep(FROZEN_SECONDS[dag_id])
    send(signal.SIGCONT)
    assert site.cluster.wait(run) == "success", site.cluster.dump()
    return [
        Order(
            run,
            PROMPT.format(run_id=run_id, task_id=task_id, seconds=seconds),
            task_id,
            index,
            task_id == "image",
        )
        for task_id in TASKS
        for index, seconds in enumerate(SECONDS[dag_id])
    ]


def assert_gone_on_once(site: Site, order: Order) -> None:
    """The task went on once, and was told of no end: Airflow calls ``on_kill`` of a trigger that moves, too."""
    assert row_of(site, order).try_number == 1
    log = logs_of(site, order)
    assert log.count("is ready, seed") == 1, log
    for forbidden in ("BFL has no cancel", "killed", "was ended", "has ended as"):
        assert forbidden.lower() not in log.lower(), log
