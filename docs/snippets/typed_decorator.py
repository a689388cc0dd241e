"""The decorators with types. docs/decorators.md shows this DAG, and the tests check and run it."""

# [START typed_decorator]
from airflow.sdk import DAG

from airflow_provider_flux.decorators import flux_task

with DAG("flux_typed_decorator", schedule=None):

    @flux_task(output_path="file:///tmp/flux/decorator/typed.{ext}", if_exists="skip")
    def poster() -> str:
        return "A poster of a lighthouse, flat colours"

    poster()
# [END typed_decorator]
