"""The example DAG of a product table: two nights on a real PostgreSQL, by ``dag.test()``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.utils.db import initdb

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.airflow_names import DagBag
from tests.support.sql_databases import PostgresLab

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "flux_product_table.py"


@pytest.fixture
def service(connect) -> Iterator[EmulatorServer]:
    with EmulatorServer(EmulatorConfig(latency=0.1, image_bytes=5000)) as server:
        connect(server.url)
        yield server


@pytest.fixture
def dag(
    service: EmulatorServer, postgres: PostgresLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The DAG, whose table is in PostgreSQL and whose images land in a local folder."""
    name = f"AIRFLOW_CONN_{postgres.conn_id.upper()}"
    monkeypatch.setenv("AIRFLOW_CONN_FLUX_PRODUCTS", os.environ[name])
    monkeypatch.setenv("AIRFLOW_VAR_FLUX_OUTPUT", f"file://{tmp_path}/out")
    initdb()
    bag = DagBag(str(EXAMPLE))
    assert bag.import_errors == {}
    return bag.dags["flux_product_table"]


def test_each_night_pays_for_changed_products_and_writes_their_images_back(
    dag: Any, service: EmulatorServer, postgres: PostgresLab, tmp_path: Path
) -> None:
    folder = f"file://{tmp_path}/out/products"

    def night() -> dict[str, Any]:
        run = run_dag(dag)
        assert str(run.state) in {"success", "DagRunState.SUCCESS"}
        return {ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in run.get_task_instances()}

    first = night()
    assert (first["images"]["landed"], first["to_table"]["updated"]) == (12, 12)
    assert first["announce"] == {"lamps": 6, "vases": 6}
    rows = postgres.values("SELECT image_uri FROM flux_products ORDER BY id")
    assert rows[0] == f"{folder}/lamps/101.jpeg"
    assert rows[-1] == f"{folder}/vases/112.jpeg"
    assert postgres.values("SELECT alt_text FROM flux_products WHERE id = 101") == [
        "Studio photo on white: Desk lamp, brass"
    ]

    postgres.run("UPDATE flux_products SET colour = 'copper' WHERE id = 101")
    second = night()
    assert (second["images"]["landed"], second["images"]["reused"]) == (1, 11)
    assert (second["to_table"]["updated"], second["to_table"]["unchanged"]) == (1, 11)
    assert second["announce"] == {"lamps": 1}
    assert service.stats()["submits"] == 13
