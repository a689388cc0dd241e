"""A batch with checks of its images. docs/checks.md shows it, and the tests run it."""

# [START checks]
from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_checks", schedule=None):
    FluxGenerateBatchOperator(
        task_id="catalogue",
        requests="s3://my_s3@media/in/products.csv",
        columns={"key": "sku", "prompt": "description"},
        output_path="s3://my_s3@media/out/{{ run_id }}/{key}.{ext}",
        checks=["not_blank", "not_duplicate", {"ratio": "4:3"}, "brand_checks.brand_colour"],
        max_rerolls=2,
        max_cost=2000,
        max_rejected="2%",
    )
# [END checks]
