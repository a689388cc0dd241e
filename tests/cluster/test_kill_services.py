"""Components that are killed, stopped or down while images are in flight.

Each image is submitted once and lands. A component that has ended is started again, as systemd or
Kubernetes would.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.checkpoint_proxy import Strike
from tests.support.cluster.batches import DAGS, EACH, Batch
from tests.support.cluster.checkpointed_cluster import FAST_TRIGGER_FAILOVER, Site, open_site
from tests.support.cluster.kill import AFTER_PERSISTED, AT_READY, HALF_PUT, kill_triggerer
from tests.support.cluster.processes import wait_until
from tests.support.cluster.verdict import row_of

ROUNDS = range(int(os.environ.get("FLUX_KILLS", "1")))
pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("round_number")]

DOWN_SECONDS = 20
#: Seconds for a scheduler to end after SIGTERM. The LocalExecutor can wait for ever for workers
#: that have ended, and SIGKILL follows then.
GRACE_SECONDS = 45


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with open_site(
        folder, DAGS, s3, bucket="batches", versioned=True, env=FAST_TRIGGER_FAILOVER
    ) as site:
        yield site


@pytest.fixture(params=ROUNDS)
def round_number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def batch(site: Site) -> Batch:
    """A batch in flight."""
    batch = Batch.start(site, "batch")
    batch.wait_in_flight(site)
    return batch


def test_images_of_a_triggerer_killed_at_work_land_once(site: Site) -> None:
    """It is killed while it waits, and at each point of its work for a result."""
    strikes, versions = list[Strike](), list[int]()
    kill = kill_triggerer(site.cluster)

    def count_versions() -> int:
        return site.bucket.versions(f"out/{persisted.run.run_id}/deferred-0.jpeg")

    def count_and_kill(pid: int) -> None:
        versions.append(count_versions())
        kill(pid)

    def at_persisted(token: str) -> None:
        strikes.append(site.store.plan(f"{token}/deferred.0-", AFTER_PERSISTED, count_and_kill))

    def at_ready(token: str) -> None:
        strikes.append(site.bfl.plan(f"{token} deferred", AT_READY, kill))

    def at_put(token: str) -> None:
        strikes.append(site.store.plan(f"{token}/deferred", HALF_PUT, kill))

    persisted = Batch.start(site, "persisted", at_persisted)
    persisted.wait_in_flight(site)
    persisted.triggerer(site).kill()
    persisted.release(site)
    # This strike comes before the others: the record is written once, whichever process is killed.
    assert strikes[0].done.wait(120)
    others = [Batch.start(site, "ready", at_ready), Batch.start(site, "put", at_put)]
    for batch in (persisted, *others):
        batch.assert_all_landed(site)
    assert [(strike.done.is_set(), strike.error) for strike in strikes] == [(True, None)] * 3
    assert versions == [count_versions()], (
        "landed again, although the record said that it had landed"
    )


def test_images_land_after_all_triggerers_and_the_scheduler_with_its_workers_are_killed(
    site: Site, batch: Batch
) -> None:
    """Deferred images need the triggerers, and images that wait inline need the workers."""
    for triggerer in site.cluster.triggerers:
        triggerer.kill()
    site.cluster.scheduler.kill()
    batch.assert_all_landed(site)


def test_images_land_once_although_workers_outlive_their_killed_scheduler(site: Site) -> None:
    """Two workers run the same task: the new scheduler does not know the worker of the old one."""
    batch = Batch.start(site, "orphaned")
    batch.wait_in_flight(site)
    first_tries = [row_of(site, image).try_number for image in batch.images[:EACH]]
    scheduler, triggerer = site.cluster.scheduler, batch.triggerer(site)
    triggerer.signal(signal.SIGTERM, group=False)
    scheduler.signal(signal.SIGKILL, group=False)
    assert wait_until(lambda: not scheduler.running, 10)
    scheduler.start()  # not restart(), which would end the workers
    assert wait_until(lambda: not triggerer.running, 120)
    inline = [image for image in batch.images if image.task_id == "inline"]

    def have_second_workers() -> bool:
        rows = [row_of(site, image) for image in inline]
        return all(row.try_number > first for row, first in zip(rows, first_tries, strict=True))

    assert wait_until(have_second_workers, 180), site.cluster.dump()
    batch.assert_all_landed(site)


def test_images_land_after_the_scheduler_is_terminated(site: Site, batch: Batch) -> None:
    scheduler = site.cluster.scheduler
    scheduler.signal(signal.SIGTERM, group=False)
    if not wait_until(lambda: not scheduler.running, GRACE_SECONDS):
        scheduler.kill()
    batch.assert_all_landed(site)


def test_images_land_after_the_database_is_restarted(site: Site, batch: Batch) -> None:
    site.cluster.postgres.restart()
    batch.assert_all_landed(site)


def test_images_land_after_store_and_bfl_are_down_for_a_while(site: Site, batch: Batch) -> None:
    """First the store while images land and others are submitted, then BFL while images wait."""
    landing = Batch.start(site, "landing")
    landing.wait_in_flight(site)
    downloads = site.emulator.stats()["downloads"]
    site.store.down_for(DOWN_SECONDS)
    late = Batch.start(site, "late")
    landing.release(site)
    assert wait_until(lambda: site.emulator.stats()["downloads"] >= downloads + 2 * EACH, 120)
    site.bfl.down_for(DOWN_SECONDS)
    for each in (landing, late, batch):
        each.assert_all_landed(site)
