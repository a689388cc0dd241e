"""One task that generates and lands an image, as recommended for production."""

from __future__ import annotations

# [START flux_single_task]
from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}"

with DAG(
    "flux_single_task",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={
        "prompt": "An isometric map of a data pipeline, pastel colours",
        "width": 1440,
        "seed": None,
    },
):
    FluxGenerateOperator(
        task_id="generate",
        prompt="{{ params.prompt }}",
        width="{{ params.width }}",
        height=960,
        seed="{{ params.seed }}",
        output_format="png",
        output_path=f"{OUTPUT}/single/{{request_id}}-{{seed}}.{{ext}}",
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=30),  # the default of 5 minutes is half the life of a link
    )
# [END flux_single_task]
