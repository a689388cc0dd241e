"""Groups of images that are in flight while the deployment is disturbed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from tests.support.cluster.checkpointed_cluster import Site
from tests.support.cluster.harness import FINISHED, DagRun
from tests.support.cluster.kill import restart_ended
from tests.support.cluster.processes import Component, wait_until
from tests.support.cluster.verdict import ImageTask, assert_paid_once_and_landed, is_recorded

#: Number of images of a batch that wait on a worker, and number of those that wait on a triggerer.
EACH = 3
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("batch", schedule=None, max_active_runs=99):
    for task_id, inline_wait in (("inline", 300), ("deferred", 0)):
        prompts = [f"{{{{ run_id }}}} {task_id} {n} [[fault:held]]" for n in range(EACH)]
        FluxGenerateOperator.partial(
            task_id=task_id,
            output_path="s3://my_s3@batches/out/{{ run_id }}/" + task_id + "-{key}.{ext}",
            deferrable=True,
            inline_wait=inline_wait,
            retries=5,
            retry_delay=timedelta(seconds=1),
        ).expand(prompt=prompts)
""".replace("EACH", str(EACH))


@dataclass(frozen=True)
class Batch:
    """Images of one DAG run: half of them wait on workers, half on triggerers.

    None is ready before :meth:`release`, however slow the machine is.

    :param run: the DAG run.
    :param images: its images.
    """

    run: DagRun
    images: list[ImageTask]

    @classmethod
    def start(cls, site: Site, name: str, plan: Callable[[str], object] | None = None) -> Batch:
        """Start a batch.

        :param site: the cluster.
        :param name: beginning of the run id.
        :param plan: plans strikes for a run id, which is in all prompts and paths.
        """
        token = f"{name}-{uuid4().hex[:8]}"
        if plan:
            plan(token)
        run = site.cluster.run_dag("batch", run_id=token)
        images = [
            ImageTask(run, f"{token} {task_id} {n} [[fault:held]]", task_id, n)
            for task_id in ("inline", "deferred")
            for n in range(EACH)
        ]
        return cls(run, images)

    def wait_in_flight(self, site: Site) -> None:
        """Wait until all submits are recorded, and triggerers run all deferred tasks."""

        def is_in_flight() -> bool:
            return len(self._triggerers(site)) == EACH and all(
                is_recorded(site, image) for image in self.images
            )

        assert wait_until(is_in_flight, 180), site.cluster.dump()

    def release(self, site: Site) -> None:
        """Make the submitted images ready."""
        site.emulator.release(self.run.run_id)

    def triggerer(self, site: Site) -> Component:
        """Return the triggerer that runs most of the deferred tasks."""
        names = self._triggerers(site)
        busiest = max(names, key=names.count)
        return next(triggerer for triggerer in site.cluster.triggerers if triggerer.name == busiest)

    def assert_all_landed(self, site: Site) -> None:
        """Release the images and restart ended components until the run ends, then check it.

        Each image was submitted once and landed.
        """

        def is_over() -> bool:
            restart_ended(site.cluster)
            self.release(site)
            return site.cluster.run_state(self.run) in FINISHED

        assert wait_until(is_over, 240), site.cluster.dump()
        assert site.cluster.run_state(self.run) == "success", site.cluster.dump()
        for image in self.images:
            assert_paid_once_and_landed(site, image, submits=1, uncertain=0)

    def _triggerers(self, site: Site) -> list[str]:
        rows = site.cluster.trigger_rows()
        return [row.triggerer for row in rows if row.run_id == self.run.run_id and row.triggerer]
