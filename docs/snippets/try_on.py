"""A person wearing a garment. docs/how-to/try-on.md shows it, and the tests run it."""

# [START try_on]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_try_on", schedule=None):
    FluxGenerateOperator(
        task_id="try_on",
        model="flux-tools/vto-v2",
        prompt="A person wearing the garment, full body, plain studio background",
        parameters={
            "person": "s3://my_s3@media/in/person.jpeg",
            "garment": "s3://my_s3@media/in/garment.jpeg",
        },
        output_path="s3://my_s3@media/out/flux_try_on/{request_id}.{ext}",
        deferrable=True,
    )
# [END try_on]
