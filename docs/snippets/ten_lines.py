"""The DAG of README.md and docs/start/first-image.md, which the tests run."""

# [START ten_lines]
import pendulum
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG(
    "flux_ten_lines", schedule="@daily", start_date=pendulum.datetime(2026, 1, 1), catchup=False
):
    FluxGenerateOperator(
        task_id="hero",
        prompt="A lighthouse on a cliff, editorial photo",
        # or s3://my_conn@bucket/..., gs://, abfs://
        output_path="file:///tmp/flux/{{ dag_run.run_after | ds }}/hero.{ext}",
        deferrable=True,
    )
# [END ten_lines]
