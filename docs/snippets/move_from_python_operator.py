"""The DAGs of docs/how-to/move-from-python-operator.md, before and after. The tests run both."""

# [START before]
import time

import requests
from airflow.sdk import DAG, BaseHook, task

PROMPTS = {"LAMP-01": "A desk lamp of brass", "MUG-07": "A mug of speckled stoneware"}


@task(retries=2)
def generate_all(folder: str) -> None:
    """Generate one image after the other, as many first versions do."""
    connection = BaseHook.get_connection("flux_default")
    host = connection.host or "https://api.bfl.ai"
    headers = {"x-key": connection.password}
    for sku, prompt in PROMPTS.items():
        answer = requests.post(
            f"{host}/v1/flux-pro-1.1", json={"prompt": prompt}, headers=headers, timeout=60
        ).json()
        while True:
            time.sleep(0.5)
            result = requests.get(answer["polling_url"], headers=headers, timeout=60).json()
            if result["status"] == "Ready":
                break
        image = requests.get(result["result"]["sample"], timeout=60).content
        with open(f"{folder}/{sku}.jpeg", "wb") as file:
            file.write(image)


with DAG("flux_before", schedule=None, params={"folder": "/tmp/flux"}):
    generate_all("{{ params.folder }}")
# [END before]

# [START move_from_python_operator]
from datetime import timedelta

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_after", schedule=None):
    FluxGenerateBatchOperator(
        task_id="generate_all",
        requests=[{"key": sku, "prompt": prompt} for sku, prompt in PROMPTS.items()],
        output_path="file:///tmp/flux/after/{key}.{ext}",
        reuse="always",
        max_cost=20,  # credits (1 credit = 0.01 USD)
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
# [END move_from_python_operator]
