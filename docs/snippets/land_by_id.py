"""Land an image by its request id. docs/errors.md shows it, and the tests run it."""

# [START land_by_id]
from airflow.sdk import DAG

from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

with DAG("flux_land_by_id", schedule=None, params={"request_id": "", "polling_url": ""}):
    FluxToObjectStorageOperator(
        task_id="land",
        generation={
            "request_id": "{{ params.request_id }}",
            "polling_url": "{{ params.polling_url }}",
        },
        output_path="file:///tmp/flux/landed/{request_id}.{ext}",
    )
# [END land_by_id]
