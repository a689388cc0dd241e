"""Reuse of existing images. docs/object-storage.md shows it, and the tests run it."""

# [START reuse]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_reuse", schedule=None, params={"product": "a red door"}):
    FluxGenerateOperator(
        task_id="hero",
        prompt="Studio photo of {{ params.product }}, on white",
        seed=7,
        output_path="file:///tmp/flux/catalog/{{ run_id }}/{key}.{ext}",
        reuse="always",
        deferrable=True,
    )
# [END reuse]
