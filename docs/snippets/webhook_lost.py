"""Tasks that land the images whose webhook was lost. docs/webhooks.md shows them."""

# [START webhook_lost]
from datetime import timedelta

from airflow.providers.standard.sensors.time_delta import WaitSensor
from airflow.sdk import DAG, Asset

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

with DAG("flux_webhook_submit_and_check", schedule=None):
    submitted = FluxGenerateOperator.partial(
        task_id="submit",
        webhook_url="https://hooks.example.com/flux/webhooks",
        wait=False,
        ready_asset=Asset("flux_images_ready"),
    ).expand(prompt=["A canvas bag on white", "A stoneware mug on white"])
    wait = WaitSensor(task_id="wait", time_to_wait=timedelta(minutes=5), deferrable=True)
    land_lost = FluxToObjectStorageOperator(
        task_id="land_lost",
        generation=submitted.output,
        output_path="file:///tmp/flux/products/{request_id}.{ext}",  # as in flux_webhook_land
        if_exists="skip",
    )
    submitted >> wait >> land_lost
# [END webhook_lost]
