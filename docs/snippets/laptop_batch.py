"""A DAG that goes on with a batch of the command line, which used the ids of its task."""

# [START laptop_batch]
from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("doors", schedule=None):
    FluxGenerateBatchOperator(
        task_id="paint",
        requests="/tmp/flux/rows.csv",
        output_path="/tmp/flux/doors/{key}.{ext}",
    )
# [END laptop_batch]
