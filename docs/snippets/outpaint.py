"""Make an image larger, in two ways. docs/how-to/outpaint.md shows it, and the tests run it."""

# [START outpaint]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_outpaint", schedule=None):
    FluxGenerateOperator(
        task_id="canvas",
        model="flux-tools/outpainting-v1",
        width=1536,
        height=1024,
        parameters={
            "input_image": "s3://my_s3@media/in/room.jpeg",
            "reference_offset_x": 0,
            "mode": "fast",
        },
        output_path="s3://my_s3@media/out/flux_outpaint/canvas-{request_id}.{ext}",
        deferrable=True,
    )
    FluxGenerateOperator(
        task_id="margins",
        model="flux-pro-1.0-expand",
        prompt="A bright living room with a wooden floor",
        parameters={"image": "s3://my_s3@media/in/room.jpeg", "left": 256, "right": 256},
        output_path="s3://my_s3@media/out/flux_outpaint/margins-{request_id}.{ext}",
        deferrable=True,
    )
# [END outpaint]
