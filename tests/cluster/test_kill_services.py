"""Parts of a deployment are killed, stopped or down while images are in flight: each is paid for once, and lands.

Whoever has ended is started again, as systemd or Kubernetes would.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.checkpoint_proxy import Strike
from tests.support.cluster.batches import DAGS, EACH, Batch
from tests.support.cluster.checkpointed_cluster import QUICK_TO_MOVE, Site, open_site
from tests.support.cluster.kill import AFTER_PERSISTED, AT_READY, HALF_PUT, kill_triggerer
from tests.support.cluster.processes import wait_until
from tests.support.cluster.verdict import row_of

ROUNDS = range(int(os.environ.get("FLUX_KILLS", "1")))
pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("round_number")]

DOWN_SECONDS = 20
#: For a scheduler to end. Airflow's LocalExecutor can wait for ever for workers that have ended, and whoever has sent
#: SIGTERM sends SIGKILL then.
GRACE_SECONDS = 45


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with open_site(folder, DAGS, s3, bucket="batches", versioned=True, env=QUICK_TO_MOVE) as site:
        yield site


@pytest.fixture(params=ROUNDS)
def round_number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def batch(site: Site) -> Batch:
    """A batch in flight."""
    batch = Batch.start(site, "batch", 15)
    batch.wait_in_flight(site)
    return batch


def test_a_triggerer_is_killed_in_the_middle_of_its_work(site: Site) -> None:
    """While it waits, and wherever its work for a result can be torn in two."""
    strikes, versions = list[Strike](), list[int]()
    kill = kill_triggerer(site.cluster)

    def count_versions() -> int:
        return site.bucket.versions(f"out/{persisted.run.run_id}/deferred-0.jpeg")

    def count_and_kill(pid: int) -> None:
        versions.append(count_versions())
        kill(pid)

    def at_persisted(token: str) -> None:
        strikes.append(site.store.at(f"{token}/deferred.0-", AFTER_PERSISTED, count_and_kill))

    def at_ready(token: str) -> None:
        strikes.append(site.bfl.at(f"{token} deferred", AT_READY, kill))

    def at_put(token: str) -> None:
        strikes.append(site.store.at(f"{token}/deferred", HALF_PUT, kill))

    persisted = Batch.start(site, "persisted", 15, at_persisted)
    persisted.wait_in_flight(site)
    persisted.triggerer(site).kill()
    assert strikes[0].done.wait(
        120
    )  # before there are others: that record is written once, whoever is killed then
    others = [Batch.start(site, "ready", 15, at_ready), Batch.start(site, "put", 15, at_put)]
    for batch in (persisted, *others):
        batch.judge(site)
    assert [(strike.done.is_set(), strike.error) for strike in strikes] == [(True, None)] * 3
    assert versions == [count_versions()], "landed again, although it was on record that it had"


def test_all_triggerers_are_killed_and_the_scheduler_with_all_its_workers(
    site: Site, batch: Batch
) -> None:
    """What is deferred needs the ones, what is inline the others."""
    for triggerer in site.cluster.triggerers:
        triggerer.kill()
    site.cluster.scheduler.kill()
    batch.judge(site)


def test_a_triggerer_is_terminated_and_the_scheduler_killed_whose_workers_go_on(site: Site) -> None:
    """Two workers have the same task then: the new scheduler knows nothing of the old one's."""
    batch = Batch.start(site, "orphaned", 30)
    batch.wait_in_flight(site)
    scheduler, triggerer = site.cluster.scheduler, batch.triggerer(site)
    triggerer.signal(signal.SIGTERM, group=False)
    scheduler.signal(signal.SIGKILL, group=False)
    assert wait_until(lambda: not scheduler.running, 10)
    scheduler.start()  # not restart(), which would end them
    assert wait_until(lambda: not triggerer.running, 60)
    batch.judge(site)
    assert [
        row_of(site, order).try_number for order in batch.orders if order.task_id == "inline"
    ] == [2] * EACH


def test_the_scheduler_is_terminated(site: Site, batch: Batch) -> None:
    scheduler = site.cluster.scheduler
    scheduler.signal(signal.SIGTERM, group=False)
    if not wait_until(lambda: not scheduler.running, GRACE_SECONDS):
        scheduler.kill()
    batch.judge(site)


def test_the_database_is_restarted(site: Site, batch: Batch) -> None:
    site.cluster.postgres.restart()
    batch.judge(site)


def test_the_store_and_bfl_are_down_for_a_while(site: Site, batch: Batch) -> None:
    """The store when images are to land, and others are not paid for yet; then BFL, while they are waited for."""
    landing = Batch.start(site, "landing", 8)
    landing.wait_in_flight(site)
    downloads = site.emulator.stats()["downloads"]
    site.store.down_for(DOWN_SECONDS)
    late = Batch.start(site, "late", 8)
    assert wait_until(lambda: site.emulator.stats()["downloads"] >= downloads + 2 * EACH, 60)
    site.bfl.down_for(DOWN_SECONDS)
    for each in (landing, late, batch):
        each.judge(site)
