"""Check the balance before a series of generations.

docs/account.md shows it, and the tests run it.
"""

# [START budget]
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_flux.bfl.request import build_request, estimate_cost
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.operators.generate import FluxGenerateOperator

PROMPTS = ["A red door", "A blue door", "A green door"]
SIZE = {"width": 1024, "height": 768}


@task
def check_budget(prompts: list[str]) -> float:
    """Fail before anything is paid if the balance does not cover all prompts."""
    requests = [build_request("flux-2-pro", {"prompt": prompt, **SIZE}) for prompt in prompts]
    needed = sum(estimate_cost(request).credits or 0 for request in requests)
    balance = FluxHook().get_conn().get_credits()
    if balance < needed:
        raise AirflowFailException(
            f"{needed:g} credits are needed by estimate, and the account has {balance:g}."
        )
    return balance


with DAG("flux_budget", schedule=None):
    images = FluxGenerateOperator.partial(
        task_id="generate", model="flux-2-pro", deferrable=True, **SIZE
    )
    check_budget(PROMPTS) >> images.expand(prompt=PROMPTS)
# [END budget]
