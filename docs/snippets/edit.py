"""Edit an image by instruction. docs/how-to/edit.md shows it, and the tests run it."""

# [START edit]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_edit", schedule=None):
    FluxGenerateOperator(
        task_id="repaint",
        model="flux-kontext-pro",
        prompt="Paint the walls dark green, and leave everything else as it is",
        parameters={"input_image": "s3://my_s3@media/in/room.jpeg", "aspect_ratio": "4:3"},
        output_path="s3://my_s3@media/out/flux_edit/{request_id}.{ext}",
        deferrable=True,
    )
# [END edit]
