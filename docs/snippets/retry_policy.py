"""Retry policies of Airflow 3.3.

docs/errors.md shows it, and the tests run it.
"""

# [START retry_policy]
from datetime import timedelta

from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction, RetryRule, task

from airflow_provider_flux.exceptions import FluxModeratedError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.policies.retry import FluxRetryPolicy

DRAW_AGAIN = RetryRule(FluxModeratedError, RetryAction.RETRY, timedelta(seconds=1), "draw again")

with DAG("flux_retry_policy", schedule=None) as dag:

    @task(retries=3, retry_policy=FluxRetryPolicy())
    def read_balance() -> float:
        """Return the balance. A retry waits as long as BFL asks."""
        return FluxHook().get_conn().get_credits()

    read_balance() >> FluxGenerateOperator(
        task_id="generate",
        prompt="A red door",
        retries=2,
        retry_delay=timedelta(seconds=30),
        retry_policy=ExceptionRetryPolicy([DRAW_AGAIN]),
    )
# [END retry_policy]
