"""Land all images of a mapped task with one task.

docs/operators/to_object_storage.md shows it, and the tests run it.
"""

# [START land_many]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

with DAG("flux_land_many", schedule=None):
    images = FluxGenerateOperator.partial(
        task_id="generate", pool="flux", width=768, height=512, deferrable=True
    ).expand(prompt=["A red door", "A blue door", "A green door"])
    FluxToObjectStorageOperator(
        task_id="land",
        generation=images.output,
        output_path="file:///tmp/flux/doors/{{ run_id }}/{index:03d}.{ext}",
    )
# [END land_many]
