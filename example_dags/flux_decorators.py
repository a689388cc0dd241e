"""Images of Python functions: ``@task.flux`` for one image, ``@task.flux_batch`` for many rows.

Each function runs again in each try. What it returns decides what the try resumes.
"""

from __future__ import annotations

# [START flux_decorator]
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, task

OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}/decorators"

with DAG(
    "flux_decorator",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={"product": "a red door"},
):

    @task
    def read_brief() -> dict[str, str]:
        return {"style": "studio photo", "background": "on white"}

    @task.flux(
        model="flux-2-pro",
        output_path=f"{OUTPUT}/{{{{ run_id }}}}/{{key}}.{{ext}}",
        deferrable=True,
        retries=3,
        retry_delay=timedelta(seconds=30),
    )
    def hero(brief: Any, product: str) -> dict[str, Any]:
        prompt = f"{brief['style']} of {product}, {brief['background']}"
        return {"prompt": prompt, "width": 1024, "height": 768}

    hero(read_brief(), product="{{ params.product }}")
# [END flux_decorator]

# [START flux_batch_decorator]
with DAG("flux_batch_decorator", schedule=None, start_date=pendulum.datetime(2026, 1, 1)):

    @task.flux_batch(
        output_path=f"{OUTPUT}/{{{{ run_id }}}}/{{key}}.{{ext}}",
        max_cost=500,  # credits (1 credit = 0.01 USD)
        retries=3,
        retry_delay=timedelta(seconds=30),
    )
    def products() -> Iterator[dict[str, Any]]:
        for number in range(1, 4):  # for example the rows of a database cursor
            yield {"key": f"P-{number:04d}", "prompt": f"Product {number} on white"}

    products()
# [END flux_batch_decorator]
