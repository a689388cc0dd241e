"""Models beside the default one; docs/operators/generate.md shows it, the tests run it."""

# [START other_models]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_other_models", schedule=None):
    FluxGenerateOperator(
        task_id="in_the_catalog",
        model="flux-2-pro",
        prompt="A paper boat on a puddle",
        width=1024,
        height=768,
        parameters={"disable_pup": True},
    )
    FluxGenerateOperator(
        task_id="not_in_the_catalog",
        model="flux-2-klein-4b",
        prompt="A paper boat on a puddle",
        parameters={"width": 1024, "height": 768},
        validate=False,
    )
# [END other_models]
