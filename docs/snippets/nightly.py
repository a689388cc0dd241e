"""A batch that runs every night over one table, and pays for what changed.

docs/tables.md shows it, and the tests run it.
"""

# [START nightly]
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_nightly", schedule=None):
    FluxGenerateBatchOperator(
        task_id="images",
        requests="file:///tmp/flux/products.csv",  # the columns key and prompt
        output_path="file:///tmp/flux/catalogue/{key}.{ext}",  # no date
        reuse="always",  # each night finds the images of the nights before
        prune="report",  # or "delete" images whose rows are gone
        max_cost=500,  # credits (1 credit = 0.01 USD) of one night
        on_budget="trim",  # what does not fit waits for the next night
        retries=3,
        retry_delay=timedelta(seconds=30),
    )
# [END nightly]
