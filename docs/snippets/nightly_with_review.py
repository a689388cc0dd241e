"""The DAG of docs/how-to/nightly-with-review.md, which the tests run."""

# [START nightly_with_review]
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, task

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.review import FluxReviewOperator

NIGHT = "file:///tmp/flux/review/{{ dag_run.run_after | ds }}"


@task
def publish(approved: list[dict[str, Any]]) -> list[str]:
    """Return the URIs of the approved images. Replace this with your shop's API."""
    return [generation["image"]["uri"] for generation in approved]


with DAG(
    "flux_nightly_with_review",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
):
    images = FluxGenerateBatchOperator(
        task_id="images",
        requests="file:///tmp/flux/products.csv",
        columns={"key": "sku", "prompt": "description"},
        output_path=f"{NIGHT}/candidates/{{key}}.{{ext}}",
        max_cost=50,  # credits (1 credit = 0.01 USD)
        retries=3,
        retry_delay=timedelta(seconds=30),
    )
    review = FluxReviewOperator(
        task_id="review",
        candidates=images.output,
        subject="Images of the night",
        multiple=True,
        output_path=f"{NIGHT}/approved/{{key}}.{{ext}}",
        response_timeout=timedelta(hours=12),
        defaults="reject",  # if nobody answers until then, nothing is published
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    publish(review.output)  # type: ignore[arg-type]
# [END nightly_with_review]
