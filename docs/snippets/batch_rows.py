"""A batch between two tasks: the first returns its rows, the second reads its manifest.

docs/operators/batch.md shows it, and the tests run it.
"""

# [START batch_rows]
import json
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator


@task
def rows() -> list[dict[str, Any]]:
    """Return a row for each image, with the parameters that differ."""
    return [
        {"key": "door", "prompt": "A red door, studio photo", "seed": 7},
        {"key": "hero", "prompt": "A street of red doors", "model": "flux-2-pro", "width": 1536},
        {"key": "sign", "prompt": "A shop sign: knives", "fallback_prompt": "A shop sign: cutlery"},
    ]


@task
def without_image(summary: dict[str, Any]) -> dict[str, str]:
    """Return the reason for each row without an image, by key."""
    manifest = ObjectStoragePath(summary["manifest"]).read_bytes()
    ended = [json.loads(line) for line in manifest.splitlines()]
    return {row["key"]: f"{row['outcome']}: {row['reason']}" for row in ended if row["uri"] is None}


with DAG("flux_batch_rows", schedule=None):
    images = FluxGenerateBatchOperator(
        task_id="images",
        requests=rows(),
        defaults={"height": 1024},
        output_path="file:///tmp/flux/doors/{{ run_id }}/{key}.{ext}",
    )
    without_image(images.output)
# [END batch_rows]
