"""A hero image every day: one task generates it, another lands it."""

from __future__ import annotations

# [START flux_hero_image]
from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}"
DAY = "{{ dag_run.run_after | ds }}"

with DAG(
    "flux_hero_image", schedule="@daily", start_date=pendulum.datetime(2026, 1, 1), catchup=False
):
    hero = FluxGenerateOperator(
        task_id="generate",
        prompt="A lighthouse on a cliff, {{ dag_run.run_after.strftime('%B') }} light, photo",
        seed=7,
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=30),  # the default of 5 minutes is half the life of a link
    )
    FluxToObjectStorageOperator(
        task_id="land",
        generation=hero.output,
        output_path=f"{OUTPUT}/hero/{DAY}.{{ext}}",
        retries=5,
        retry_delay=timedelta(seconds=30),
    )
# [END flux_hero_image]
