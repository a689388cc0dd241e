"""A DAG that lands an image, and a DAG that runs whenever the image has landed.

The first one declares an asset in ``outlets``. The second one is scheduled by the asset, and reads
where the image is, what it shows and what it cost from the extra of the asset event.
"""

from __future__ import annotations

# [START flux_assets]
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, task

from airflow_provider_flux.operators.generate import FluxGenerateOperator

OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}"
HERO = Asset("flux_campaign_hero")

with DAG("flux_campaign", schedule=None, start_date=pendulum.datetime(2026, 1, 1)):
    FluxGenerateOperator(
        task_id="hero",
        prompt="A lighthouse on a cliff at dawn, editorial photo",
        output_path=f"{OUTPUT}/campaign/{{{{ run_id }}}}/hero.{{ext}}",
        outlets=[HERO],
        deferrable=True,
        retries=3,
        retry_delay=timedelta(seconds=30),
    )

with DAG("flux_campaign_page", schedule=[HERO], start_date=pendulum.datetime(2026, 1, 1)):

    @task
    def publish(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Return the image of each event since the last run."""
        return [
            {name: event.extra[name] for name in ("uri", "width", "height", "seed", "cost")}
            for events in triggering_asset_events.values()
            for event in events
        ]

    publish()
# [END flux_assets]
