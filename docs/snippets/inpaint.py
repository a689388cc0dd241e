"""Repaint a masked area of an image. docs/how-to/inpaint.md shows it, and the tests run it."""

# [START inpaint]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_inpaint", schedule=None):
    FluxGenerateOperator(
        task_id="fill",
        model="flux-pro-1.0-fill",
        prompt="A vase with yellow tulips",
        parameters={
            "image": "s3://my_s3@media/in/room.jpeg",
            "mask": "s3://my_s3@media/in/mask.png",
        },
        output_path="s3://my_s3@media/out/flux_inpaint/{request_id}.{ext}",
        deferrable=True,
    )
# [END inpaint]
