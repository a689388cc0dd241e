"""Remove what a mask covers. docs/how-to/erase.md shows it, and the tests run it."""

# [START erase]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_erase", schedule=None):
    FluxGenerateOperator(
        task_id="erase",
        model="flux-tools/erase-v1",
        parameters={
            "image": "s3://my_s3@media/in/room.jpeg",
            "mask": "s3://my_s3@media/in/mask.png",
            "dilate_pixels": 15,
        },
        output_path="s3://my_s3@media/out/flux_erase/{request_id}.{ext}",
        deferrable=True,
    )
# [END erase]
