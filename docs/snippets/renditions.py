"""Sizes of one image for a gallery, a shop and a feed. docs/renditions.md shows it."""

# [START renditions]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_renditions", schedule=None):
    FluxGenerateOperator(
        task_id="hero",
        prompt="A paper boat on a puddle",
        output_path="s3://my_s3@media/boats/{request_id}.{ext}",
        renditions={
            "thumb": {"width": 320, "format": "webp"},
            "square": {"width": 1080, "height": 1080, "fit": "crop"},
            "story": {"width": 1080, "height": 1920, "fit": "pad", "background": "#102030"},
            "web": {"width": 1024, "format": "webp", "path": "web/{stem}.{ext}"},
        },
    )
# [END renditions]
