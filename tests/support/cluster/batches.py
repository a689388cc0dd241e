"""Batches of images that are under way while something happens to the deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from tests.support.cluster.checkpointed_cluster import Site
from tests.support.cluster.harness import FINISHED, DagRun
from tests.support.cluster.kill import revive
from tests.support.cluster.processes import Component, wait_until
from tests.support.cluster.verdict import Order, assert_paid_once_and_landed, is_recorded

#: How many images of a batch wait on a worker, and how many on a triggerer.
EACH = 3
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

for seconds in (8, 15, 30):
    with DAG(f"batch_{seconds}", schedule=None, max_active_runs=99):
        for task_id, inline_wait in (("inline", 120), ("deferred", 0)):
            FluxGenerateOperator.partial(
                task_id=task_id,
                output_path="s3://my_s3@batches/out/{{ run_id }}/" + task_id + "-{key}.{ext}",
                deferrable=True,
                inline_wait=inline_wait,
                retries=5,
                retry_delay=timedelta(seconds=1),
            ).expand(prompt=[f"{{{{ run_id }}}} {task_id} {n} [[fault:slow={seconds}]]" for n in range(EACH)])
""".replace("EACH", str(EACH))


@dataclass(frozen=True)
class Batch:
    """Images that are ordered at once: half of them wait on workers, half on triggerers."""

    run: DagRun
    orders: list[Order]

    @classmethod
    def start(
        cls, site: Site, name: str, seconds: int, plan: Callable[[str], object] | None = None
    ) -> Batch:
        """Order images that take so many seconds.

        :param plan: plans strikes, given the run id, which is in all prompts and paths.
        """
        token = f"{name}-{uuid4().hex[:8]}"
        if plan:
            plan(token)
        run = site.cluster.run_dag(f"batch_{seconds}", run_id=token)
        orders = [
            Order(run, f"{token} {task_id} {n} [[fault:slow={seconds}]]", task_id, n)
            for task_id in ("inline", "deferred")
            for n in range(EACH)
        ]
        return cls(run, orders)

    def wait_in_flight(self, site: Site) -> None:
        """Wait until all is paid for and written down, and a triggerer has got what is deferred."""

        def is_in_flight() -> bool:
            return len(self._triggerers(site)) == EACH and all(
                is_recorded(site, order) for order in self.orders
            )

        assert wait_until(is_in_flight, 90), site.cluster.dump()

    def triggerer(self, site: Site) -> Component:
        """Return the triggerer that has most of what is deferred."""
        names = self._triggerers(site)
        return next(
            one for one in site.cluster.triggerers if one.name == max(names, key=names.count)
        )

    def judge(self, site: Site) -> None:
        """Wait for the end, while whoever has ended is started again, and judge each image."""

        def is_over() -> bool:
            revive(site.cluster)
            return site.cluster.run_state(self.run) in FINISHED

        assert wait_until(is_over, 240), site.cluster.dump()
        assert site.cluster.run_state(self.run) == "success", site.cluster.dump()
        for order in self.orders:
            assert_paid_once_and_landed(site, order, submits=1, uncertain=0)

    def _triggerers(self, site: Site) -> list[str]:
        rows = site.cluster.trigger_rows()
        return [row.triggerer for row in rows if row.run_id == self.run.run_id and row.triggerer]
