"""A deferred task that a webhook resumes. docs/webhooks.md shows it, and the tests run it."""

# [START webhook_deferred]
from airflow.sdk import DAG, Asset

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_webhook_hero", schedule=None):
    FluxGenerateOperator(
        task_id="hero",
        prompt="A lighthouse on a cliff at dawn, editorial photo",
        webhook_url="https://hooks.example.com/flux/webhooks",
        output_path="file:///tmp/flux/hero/{request_id}.{ext}",
        outlets=[Asset("flux_hero")],
        deferrable=True,
        inline_wait=0,
    )
# [END webhook_deferred]
