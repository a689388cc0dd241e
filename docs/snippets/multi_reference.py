"""One image from three. docs/how-to/multi-reference.md shows it, and the tests run it."""

# [START multi_reference]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_multi_reference", schedule=None):
    FluxGenerateOperator(
        task_id="combine",
        model="flux-2-pro",
        prompt="The product of image 1 with the logo of image 2, on the table in image 3",
        width=1536,
        height=1024,
        parameters={
            "input_image": "s3://my_s3@media/in/product.jpeg",
            "input_image_2": "s3://my_s3@media/in/logo.png",
            "input_image_3": "s3://my_s3@media/in/room.jpeg",
        },
        output_path="s3://my_s3@media/out/flux_multi_reference/{request_id}.{ext}",
        deferrable=True,
    )
# [END multi_reference]
