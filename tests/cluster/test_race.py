"""Many short images together: each is submitted once, even if the scheduler fails a try.

The scheduler of Airflow can fail a try whose trigger fires while it still handles the deferral
(apache/airflow issues 71580 and 72716). The test prints how many tries it has failed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from airflow_provider_flux.emulator import EmulatorConfig
from tests.support.cluster.checkpointed_cluster import DEFAULT_THRESHOLDS, Site, open_site
from tests.support.cluster.verdict import ImageTask, assert_paid_once_and_landed

pytestmark = pytest.mark.cluster

#: Number of images, by DAG. Few images of the DAG "default" defer, since they wait on their worker
#: first. The race is among the others.
IMAGES = {
    name: int(os.environ.get("FLUX_RACE_IMAGES", few))
    for name, few in (("deferred", 24), ("default", 12))
}
SECONDS = 4
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

for name, arguments in {"deferred": {"inline_wait": 0}, "default": {}}.items():
    with DAG(name, schedule=None, max_active_tasks=99):
        FluxGenerateOperator.partial(
            task_id="image",
            output_path="s3://my_s3@media/out/{{ run_id }}/{key}.{ext}",
            deferrable=True,
            retries=1,
            retry_delay=timedelta(seconds=1),
            **arguments,
        ).expand(prompt=[f"{{{{ run_id }}}} {n}" for n in range(IMAGES[name])])
""".replace("IMAGES", str(IMAGES))
ATTEMPTS = """
    select coalesce(sum(try_number - 1), 0),
           (select count(*) from task_instance_history h
            where h.dag_id = :dag_id and h.run_id = :run_id and h.state = 'failed')
    from task_instance where dag_id = :dag_id and run_id = :run_id
"""


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    config = EmulatorConfig(latency=SECONDS, credits=1_000_000)
    with open_site(
        tmp_path_factory.mktemp("site"), DAGS, s3, config=config, env=DEFAULT_THRESHOLDS
    ) as site:
        yield site


@pytest.mark.parametrize("dag_id", ["deferred", "default"])
def test_many_short_images_are_submitted_once_and_land(
    site: Site, dag_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = site.cluster.run_dag(dag_id, run_id=f"{dag_id}-{uuid4().hex[:8]}")
    images = IMAGES[dag_id]
    state = site.cluster.wait(run, 120 + 10 * images)
    ((repeated, failed),) = site.cluster.sql(ATTEMPTS, dag_id=run.dag_id, run_id=run.run_id)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{dag_id}: {images} images, {repeated} retries, {failed} failed tries\n"
        )
    assert state == "success", site.cluster.dump()
    for index in range(images):
        assert_paid_once_and_landed(
            site, ImageTask(run, f"{run.run_id} {index}", map_index=index), submits=1, uncertain=0
        )
