"""Workers that are killed at each point in the life of an image.

Each image is submitted once and lands, or its task fails because the submit is uncertain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.support.checkpoint_proxy import Checkpoint, Strike
from tests.support.cluster import kill
from tests.support.cluster.checkpointed_cluster import (
    HAS_TASK_STATE_STORE,
    RETRIES_KILLED_TASKS,
    Site,
    open_site,
)
from tests.support.cluster.kill import kill_runner, lose_worker
from tests.support.cluster.verdict import (
    ImageTask,
    assert_failed_without_paying_again,
    assert_paid_once_and_landed,
)

pytestmark = pytest.mark.cluster

ROUNDS = int(os.environ.get("FLUX_KILLS", "1"))
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

LANDED = {"output_path": "s3://my_s3@media/out/{{ run_id }}/{key}.{ext}"}
VARIANTS = {
    "inline": LANDED,
    "inline_resubmit": LANDED | {"on_uncertain": "resubmit"},
    "deferred": LANDED | {"inline_wait": 0},
    "unlanded": {},
    "unlanded_resubmit": {"on_uncertain": "resubmit"},
}
for name, arguments in VARIANTS.items():
    with DAG(name, schedule=None, max_active_runs=99):
        FluxGenerateOperator(
            task_id="image",
            prompt="{{ run_id }} [[fault:{{ dag_run.conf['fault'] }}]]",
            deferrable=True,
            retries=5,
            retry_delay=timedelta(seconds=1),
            **{"inline_wait": 120} | arguments,
        )
"""


@dataclass(frozen=True)
class Case:
    """One kill of a worker, and its expected outcome.

    :param name: id of the test case.
    :param checkpoint: the point at which the worker is struck.
    :param act: strikes the process with a process id.
    :param dag: variant of the operator.
    :param submits: expected number of submits.
    :param uncertain: expected number of submits that the task reports as uncertain; ``None`` if the
        task must fail because of one.
    """

    name: str
    checkpoint: Checkpoint
    act: Callable[[int], object]
    dag: str = "inline"
    submits: int = 1
    uncertain: int | None = 0

    def start(self, site: Site) -> tuple[ImageTask, Strike]:
        """Plan the strike and run the DAG."""
        token = f"{self.name}-{uuid4().hex[:8]}"
        # There is a second poll only if the image is not ready at the first, on a slow machine too.
        fault = "held" if self.checkpoint is kill.SECOND_POLL else "slow=5"

        def release_and_act(pid: int) -> None:
            site.emulator.release(token)
            self.act(pid)

        proxy = site.bfl if kill.is_of_bfl(self.checkpoint) else site.store
        strike = proxy.plan(token, self.checkpoint, release_and_act)
        run = site.cluster.run_dag(self.dag, {"fault": fault}, run_id=token)
        lands = "unlanded" not in self.dag
        return ImageTask(run, f"{token} [[fault:{fault}]]", lands=lands), strike


#: Struck before the answer to the submit was recorded: nobody knows whether BFL billed it.
UNCERTAIN = [
    Case("intent-lost", kill.AFTER_INTENT, lose_worker, submits=0, uncertain=None),
    Case("intent-killed", kill.AFTER_INTENT, kill_runner, submits=0, uncertain=None),
    Case("intent-again", kill.AFTER_INTENT, lose_worker, dag="inline_resubmit", uncertain=1),
    Case("post-lost", kill.AFTER_POST, lose_worker, uncertain=None),
    Case("post-killed", kill.AFTER_POST, kill_runner, uncertain=None),
    Case("post-again", kill.AFTER_POST, lose_worker, dag="inline_resubmit", submits=2, uncertain=1),
]
#: Struck later, when no submit is uncertain.
RECORDED = {
    "record": kill.AFTER_RECORD,
    "poll": kill.SECOND_POLL,
    "ready": kill.AT_READY,
    "download": kill.HALF_DOWNLOAD,
    "half-put": kill.HALF_PUT,
    "put": kill.AFTER_PUT,
    "returned": kill.AFTER_RETURNED,
}
#: Without output_path, the ledger is in the task state store.
WITHOUT_FILES = [
    Case("state-intent", kill.BEFORE_POST, lose_worker, dag="unlanded", submits=0, uncertain=None),
    Case(
        "state-post-again",
        kill.AFTER_POST,
        lose_worker,
        dag="unlanded_resubmit",
        submits=2,
        uncertain=1,
    ),
    Case("state-first-poll", kill.FIRST_POLL, lose_worker, dag="unlanded"),
    Case("state-ready", kill.AT_READY, kill_runner, dag="unlanded"),
]
CASES = [
    *(case for case in UNCERTAIN if RETRIES_KILLED_TASKS or case.act is not kill_runner),
    *(Case(f"{name}-lost", point, lose_worker) for name, point in RECORDED.items()),
    *(
        Case(f"{name}-killed", point, kill_runner)
        for name, point in RECORDED.items()
        # After the return, a clear is for a new image.
        if RETRIES_KILLED_TASKS or name != "returned"
    ),
    Case("resumed-lost", kill.AFTER_RETURNED, lose_worker, dag="deferred"),
    Case("intent-terminated", kill.AFTER_INTENT, kill.terminate_runner),
    Case("post-terminated", kill.AFTER_POST, kill.terminate_runner),
    Case("runner-terminated", kill.SECOND_POLL, kill.terminate_runner),
    Case("worker-terminated", kill.SECOND_POLL, kill.terminate_worker),
    *(WITHOUT_FILES if HAS_TASK_STATE_STORE else ()),
]


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site"), DAGS, s3) as site:
        yield site


@pytest.fixture(scope="module", params=range(ROUNDS))
def started(site: Site) -> dict[Case, tuple[ImageTask, Strike]]:
    """Start all cases of a round together: most of them wait for the same missing heartbeat."""
    return {case: case.start(site) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_killed_worker_is_paid_once_and_its_image_lands(
    site: Site, started: dict[Case, tuple[ImageTask, Strike]], case: Case
) -> None:
    image, strike = started[case]
    state = site.cluster.wait(image.run, 480)
    assert strike.done.is_set(), f"no request reached {case.checkpoint}"
    assert strike.error is None, strike.error
    if case.act is kill_runner and not RETRIES_KILLED_TASKS:
        site.cluster.clear(image.run, image.task_id)
        state = site.cluster.wait(image.run, 480)
    if case.uncertain is None:
        assert_failed_without_paying_again(site, image, submits=case.submits)
    else:
        assert state == "success", site.cluster.dump()
        assert_paid_once_and_landed(site, image, submits=case.submits, uncertain=case.uncertain)
