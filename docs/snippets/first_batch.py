"""The batch of docs/start/first-batch.md, which the tests run."""

# [START first_batch]
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_first_batch", schedule=None):
    FluxGenerateBatchOperator(
        task_id="images",
        requests="file:///tmp/flux/products.csv",
        columns={"key": "sku", "prompt": "description"},
        output_path="file:///tmp/flux/first_batch/{key}.{ext}",
        reuse="always",  # the next run pays for new and changed rows only
        max_cost=50,  # credits (1 credit = 0.01 USD)
        retries=3,
        retry_delay=timedelta(seconds=30),
    )
# [END first_batch]
