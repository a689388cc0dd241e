"""A batch that takes as many slots of a pool as it has active generations.

docs/how-to/share-the-quota.md shows it, and the tests run it.
"""

# [START batch_in_the_pool]
from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

ACTIVE = 8

with DAG("flux_batch_in_the_pool", schedule=None):
    FluxGenerateBatchOperator(
        task_id="doors",
        requests=[
            {"key": f"door-{n:03d}", "prompt": f"Front door number {n}, studio photo"}
            for n in range(1, 31)
        ],
        pool="flux",
        pool_slots=ACTIVE,
        max_active=ACTIVE,
        output_path="s3://my_s3@media/out/doors/{{ run_id }}/{key}.{ext}",
    )
# [END batch_in_the_pool]
