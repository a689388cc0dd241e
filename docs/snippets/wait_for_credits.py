"""Wait for credits before the first image.

docs/account.md shows it, and the tests run it.
"""

# [START wait_for_credits]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.sensors.credits import FluxCreditsSensor

with DAG("flux_wait_for_credits", schedule=None):
    enough = FluxCreditsSensor(task_id="enough_credits", minimum=100, deferrable=True)
    enough >> FluxGenerateOperator(
        task_id="generate", prompt="A red door", model="flux-2-pro", deferrable=True
    )
# [END wait_for_credits]
