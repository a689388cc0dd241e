"""Models other than the default.

docs/operators/generate.md and docs/new-models.md show it, and the tests run it.
"""

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_other_models", schedule=None):
    # [START in_the_catalog]
    FluxGenerateOperator(
        task_id="in_the_catalog",
        model="flux-2-pro",
        prompt="A paper boat on a puddle",
        width=1024,
        height=768,
        parameters={"disable_pup": True},
    )
    # [END in_the_catalog]
    # [START not_in_the_catalog]
    FluxGenerateOperator(
        task_id="not_in_the_catalog",
        model="flux-2-next",
        prompt="A paper boat on a puddle",
        parameters={"width": 1024, "height": 768},
        validate=False,
    )
    # [END not_in_the_catalog]
