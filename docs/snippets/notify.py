"""A notification by Slack and e-mail. docs/notifications.md shows it, and the tests run it."""

# [START notify]
from airflow.sdk import DAG

from airflow_provider_flux.notifications.flux import FluxNotifier
from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_notified_hero", schedule=None):
    FluxGenerateOperator(
        task_id="hero",
        prompt="A lighthouse on a cliff at dawn, editorial photo",
        output_path="file:///tmp/flux/notified/{request_id}.{ext}",
        on_success_callback=FluxNotifier(slack_channel="C0123456789"),
        on_failure_callback=FluxNotifier(email_to="art@example.com"),
    )
# [END notify]
