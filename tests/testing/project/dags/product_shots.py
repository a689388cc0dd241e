"""The DAG of docs/testing.md."""

# [START dag]
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("product_shots", schedule=None, params={"product": "teapot", "folder": "/tmp"}) as dag:
    FluxGenerateOperator(
        task_id="shot",
        prompt="Studio photo of a {{ params.product }}",
        output_path="file://{{ params.folder }}/{{ params.product }}.{ext}",
        deferrable=True,
        inline_wait=0,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
# [END dag]
