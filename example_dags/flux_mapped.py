"""One task for each prompt, and a pool that keeps them under the limit of the account.

Create the pool first. It has to count deferred tasks, because BFL is generating their images::

    airflow pools set flux 24 "Active generations of the BFL account" --include-deferred
"""

from __future__ import annotations

# [START flux_mapped]
from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}"

with DAG(
    "flux_mapped",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
):
    FluxGenerateOperator.partial(
        task_id="generate",
        pool="flux",
        width=768,
        height=512,
        output_path=f"{OUTPUT}/mapped/{{{{ run_id }}}}/{{index:03d}}.{{ext}}",
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=30),  # the default of 5 minutes is half the life of a link
    ).expand(
        prompt=[
            f"A {season} street market, watercolour"
            for season in ("spring", "summer", "autumn", "winter")
        ]
    )
# [END flux_mapped]
