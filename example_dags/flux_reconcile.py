"""Nightly: explain each credit that left the account, and alert if one has no explanation.

The connection ``flux_default`` needs an ``account_path``. The Variable ``flux_ledgers`` names the
folders of all ledgers of the key, as a JSON list: the beginnings of ``output_path`` or
``ledger_path`` of its tasks. A worker does not read the database of Airflow, which knows them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, task

from airflow_provider_flux.notifications.flux import FluxNotifier

ALERT = FluxNotifier(email_to="{{ var.value.get('flux_alerts', 'data-team@example.com') }}")


@task(retries=2, retry_delay=timedelta(minutes=1), on_failure_callback=ALERT)
def reconcile(ledgers: list[str]) -> dict[str, Any]:
    """Fail if credits are unexplained, so that the notifier tells people."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_provider_flux.accounting.reconcile.account import reconcile_account
    from airflow_provider_flux.hooks.flux import FluxHook

    report = reconcile_account(FluxHook(), ledgers)
    if report.has_alert:
        raise AirflowFailException(report.describe_alert())
    return report.as_dict()


with DAG(
    "flux_reconcile",
    schedule="30 5 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    render_template_as_native_obj=True,
    tags=["flux"],
):
    # The template is rendered as a list.
    reconcile("{{ var.json.get('flux_ledgers', ['file:///tmp/flux']) }}")  # type: ignore[arg-type]
