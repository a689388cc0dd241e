"""Partitions of an asset by the keys of rows. docs/assets.md shows it, and the tests run it."""

# [START asset_partitions]
from airflow.sdk import DAG, Asset, AssetAlias

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_asset_partitions", schedule=None):
    FluxGenerateBatchOperator(
        task_id="products",
        requests=[
            {"key": "BAG-12", "prompt": "A canvas bag on white"},
            {"key": "MUG-07", "prompt": "A stoneware mug on white"},
        ],
        output_path="file:///tmp/flux/products/{key}.{ext}",
        outlets=[Asset("product_images"), AssetAlias("single_product_images")],
        partition_by_key=True,
    )
# [END asset_partitions]
