"""Two DAGs on one budget, and a task that waits for its reset.

docs/how-to/cap-spending.md shows it, and the tests run it.
"""

# [START cap_spending]
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.policies.retry import FluxRetryPolicy

DOORS = [f"A {colour} door, studio photo" for colour in ("red", "blue", "green")]

with DAG("flux_cap_catalogue", schedule=None, tags=["marketing"]):
    FluxGenerateBatchOperator(
        task_id="doors",
        requests=DOORS,
        on_budget="trim",
        output_path="s3://my_s3@media/out/flux_cap_catalogue/{{ run_id }}/{key}.{ext}",
    )

with DAG("flux_cap_hero", schedule=None):
    FluxGenerateOperator(
        task_id="hero",
        prompt="A door in a forest",
        output_path="s3://my_s3@media/out/flux_cap_hero/{request_id}.{ext}",
        retries=1,
        retry_delay=timedelta(minutes=1),
        retry_policy=FluxRetryPolicy(budget_delay=timedelta(days=1)),
    )
# [END cap_spending]
