"""The costs by the ledgers are those of the metrics, and of the arguments of the tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb

from airflow_provider_flux.accounting.costs.index_file import open_index
from airflow_provider_flux.accounting.costs.period import parse_period
from airflow_provider_flux.accounting.costs.report import read_report
from airflow_provider_flux.accounting.costs.sources import refresh_scope, scope_of_database
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.observability.test_metrics import flux_counts, statsd
from tests.support.receivers import StatsdReceiver

__all__ = ["statsd"]

pytestmark = pytest.mark.usefixtures("hurry")
pytest.importorskip("statsd")


def test_the_costs_of_a_batch_and_of_single_images_are_the_credits_of_the_metrics(
    emulator: EmulatorServer, statsd: StatsdReceiver, tmp_path: Path
) -> None:
    initdb()
    size: dict[str, Any] = {"width": 256, "height": 256}
    with DAG("costs_and_metrics", schedule=None) as dag:
        FluxGenerateOperator(
            task_id="landed", prompt="a fox", output_path=f"{tmp_path}/a.{{ext}}", **size
        )
        FluxGenerateOperator(
            task_id="moderated",
            prompt="b [[fault:moderated=Violence]]",
            output_path=f"{tmp_path}/b.{{ext}}",
            **size,
        )
        FluxGenerateOperator(task_id="unlanded", prompt="c", **size)
        FluxGenerateBatchOperator(
            task_id="rows",
            requests=["d", "e [[fault:moderated]]", "f [[fault:submit-lost]]"],
            defaults=size,
            output_path=f"{tmp_path}/{{key}}.{{ext}}",
        )
    run_dag(dag)
    counts, _ = flux_counts(statsd)
    metric = {
        name: sum(value for key, value in counts.items() if key.startswith(f"flux.{name},"))
        for name in ("submits", "credits", "credits_refunded", "uncertain")
    }
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    index = open_index(folder)
    scope = scope_of_database()
    refresh_scope(index, scope)
    rows = read_report(index.connection, scope, "dag", parse_period(None, None)).rows
    index.close()
    (row,) = [row for row in rows if row.key == ("costs_and_metrics",)]
    assert row.credits == pytest.approx(metric["credits"] - metric["credits_refunded"])
    assert (row.submits, row.uncertain) == (metric["submits"], metric["uncertain"])
    assert row.possible > 0
