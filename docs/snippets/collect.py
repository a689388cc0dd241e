"""Land an image by its request id. docs/errors.md shows it, and the tests run it."""

# [START collect]
from airflow.sdk import DAG

from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

with DAG("flux_collect", schedule=None, params={"request_id": "", "polling_url": ""}):
    FluxToObjectStorageOperator(
        task_id="land",
        generation={
            "request_id": "{{ params.request_id }}",
            "polling_url": "{{ params.polling_url }}",
        },
        output_path="file:///tmp/flux/collected/{request_id}.{ext}",
    )
# [END collect]
