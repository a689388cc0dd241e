"""A task that only submits, and the DAG that its webhook schedules. docs/webhooks.md shows it."""

# [START webhook_submit_only]
from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

READY = Asset("flux_images_ready")

with DAG("flux_webhook_submit", schedule=None):
    FluxGenerateOperator.partial(
        task_id="submit",
        webhook_url="https://hooks.example.com/flux/webhooks",
        wait=False,
        ready_asset=READY,
    ).expand(prompt=["A canvas bag on white", "A stoneware mug on white"])

with DAG("flux_webhook_land", schedule=[READY]):

    @task
    def generations(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Return the generation of each event since the last run."""
        return [event.extra for events in triggering_asset_events.values() for event in events]

    FluxToObjectStorageOperator(
        task_id="land",
        generation=generations(),
        output_path="file:///tmp/flux/products/{request_id}.{ext}",
    )
# [END webhook_submit_only]
