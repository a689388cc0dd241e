"""A batch: many rows in one task.

README.md and docs/operators/batch.md show it, and the tests run it.
"""

# [START batch]
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_batch", schedule=None):
    FluxGenerateBatchOperator(
        task_id="catalogue",
        requests="s3://my_s3@media/in/products.csv",  # or .jsonl, .parquet, a list, a task output
        columns={"key": "sku", "prompt": "description"},
        defaults={"width": 768, "height": 768},
        output_path="s3://my_s3@media/out/catalogue/{{ run_id }}/{key}.{ext}",
        max_cost=2000,  # credits (1 credit = 0.01 USD)
        retries=3,
        retry_delay=timedelta(seconds=30),  # the default of 5 minutes is half the life of a link
    )
# [END batch]
