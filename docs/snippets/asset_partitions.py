"""Partitions of an asset by the keys of rows. docs/assets.md shows it, and the tests run it."""

# [START asset_partitions]
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, PartitionedAssetTimetable, task

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

IMAGES = Asset("product_images")

with DAG("flux_asset_partitions", schedule=None) as images:
    FluxGenerateBatchOperator(
        task_id="products",
        requests=[
            {"key": "BAG-12", "prompt": "A canvas bag on white"},
            {"key": "MUG-07", "prompt": "A stoneware mug on white"},
        ],
        output_path="file:///tmp/flux/products/{key}.{ext}",
        outlets=[IMAGES, AssetAlias("single_product_images")],
        partition_by_key=True,
    )

with DAG("flux_product_page", schedule=PartitionedAssetTimetable(assets=IMAGES)) as pages:

    @task
    def publish(dag_run: Any = None, triggering_asset_events: Any = None) -> dict[str, str]:
        """Return the product of this run, and the manifest that has its image."""
        (event,) = triggering_asset_events[IMAGES]
        return {"product": dag_run.partition_key, "manifest": event.extra["manifest"]}

    publish()
# [END asset_partitions]
