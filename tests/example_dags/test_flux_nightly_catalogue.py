"""The example DAG of the nightly catalogue: outcomes, budget, recovery and the next night."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import FluxBatchError
from airflow_provider_flux.cli.commands import main
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.airflow_names import DagBag
from tests.support.object_stores import S3Store
from tests.support.run_operator import FakeTaskInstance

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "flux_nightly_catalogue.py"


@pytest.fixture
def service(connect) -> Iterator[EmulatorServer]:
    with EmulatorServer(EmulatorConfig(latency=0.1, image_bytes=5000)) as server:
        connect(server.url)
        yield server


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    bag = DagBag(str(EXAMPLE))
    assert bag.import_errors == {}
    return dict(bag.dags["flux_nightly_catalogue"].task_dict)


class Catalogue:
    """The table, and runs of its DAG, task by task as Airflow renders them."""

    def __init__(self, tasks: dict[str, Any], database: Path, output: str) -> None:
        self._tasks = tasks
        self._database = str(database)
        self.output = output
        self._nights = 0
        self._call("prepare", {})

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._database)) as db, db:
            return db.execute(query).fetchall()

    def night(self, *, products: int = 500, max_cost: float = 700) -> dict[str, Any]:
        """Run the DAG and return the summary of its batch.

        As in Airflow, the task ``load`` also runs if the batch fails.
        """
        self._nights += 1
        context = {
            "run_id": f"{Path(self._database).stem}+{self._nights}",
            "params": {"database": self._database, "products": products, "max_cost": max_cost},
            "var": SimpleNamespace(value={"flux_output": self.output}),
            "dag_run": SimpleNamespace(
                run_after=datetime(2026, 11, self._nights), start_date=datetime.now(UTC)
            ),
        }
        self._call("choose", context)
        operator = self._tasks["generate"].prepare_for_execution()
        operator.render_template_fields(context)
        ti = FakeTaskInstance(-1)
        ids = {
            "dag_id": "d",
            "run_id": context["run_id"],
            "task_id": "generate",
            "try_number": 1,
            "max_tries": 3,
        }
        for name, value in ids.items():
            setattr(ti, name, value)
        try:
            summary: dict[str, Any] = operator.execute({**context, "ti": ti})
        finally:
            self._call("load", context)
        self._tasks["report"].python_callable(summary)
        return summary

    def _call(self, name: str, context: dict[str, Any]) -> None:
        task = self._tasks[name].prepare_for_execution()
        task.render_template_fields({"params": {"database": self._database}, **context})
        task.python_callable(*task.op_args, **task.op_kwargs)


@pytest.fixture
def catalogue(tasks: dict[str, Any], tmp_path: Path) -> Catalogue:
    return Catalogue(tasks, tmp_path / "home" / "catalogue.db", f"file://{tmp_path}/out")


def test_a_night_lands_500_products_and_stores_why_others_have_no_image(
    service: EmulatorServer, catalogue: Catalogue
) -> None:
    catalogue.sql(
        "UPDATE products SET description = description || ' [[fault:moderated=Violence]]' "
        "WHERE sku IN ('P-0007', 'P-0420')"
    )
    catalogue.sql("UPDATE products SET description = '' WHERE sku = 'P-0099'")
    summary = catalogue.night()
    assert (summary["rows"], summary["landed"], summary["moderated"], summary["invalid"]) == (
        500,
        497,
        2,
        1,
    )
    assert summary["credits"] == pytest.approx(497 * 1.4)
    rows = catalogue.sql(
        "SELECT sku, outcome, reason, image, sha256, credits, night FROM products ORDER BY sku"
    )
    assert len(rows) == 500
    without = {sku: (outcome, reason) for sku, outcome, reason, image, *_ in rows if image is None}
    assert {sku: outcome for sku, (outcome, _) in without.items()} == {
        "P-0007": "moderated",
        "P-0099": "invalid",
        "P-0420": "moderated",
    }
    assert "Violence" in without["P-0007"][1]
    assert "prompt is missing or empty" in without["P-0099"][1]
    images = [row for row in rows if row[0] not in without]
    assert {row[1:3] + row[5:] for row in images} == {("landed", None, 1.4, "2026-11-01")}
    for sku, _, _, uri, sha256, *_ in images:
        file = Path(uri.removeprefix("file://"))
        assert file.name == f"{sku}.jpeg"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    assert service.stats()["submits"] == 499

    with pytest.raises(AirflowSkipException, match="All products have their images"):
        catalogue.night()
    assert service.stats()["submits"] == 499

    catalogue.sql(
        "UPDATE products SET description = 'A vase, fixed', outcome = NULL WHERE sku = 'P-0007'"
    )
    assert catalogue.night()["landed"] == 1
    assert catalogue.sql("SELECT outcome, reason, night FROM products WHERE sku = 'P-0007'") == [
        ("landed", None, "2026-11-03")
    ]
    assert service.stats()["submits"] == 500


def test_a_night_above_its_budget_submits_nothing(
    service: EmulatorServer, catalogue: Catalogue
) -> None:
    with pytest.raises(AirflowSkipException, match="tried nothing") as skipped:
        catalogue.night(products=10, max_cost=5)
    assert "FluxBudgetError" in str(skipped.value.__context__)
    assert service.stats()["submits"] == 0
    assert catalogue.night(products=3, max_cost=5)["landed"] == 3


def test_landed_images_are_loaded_if_the_batch_fails(
    service: EmulatorServer, catalogue: Catalogue
) -> None:
    catalogue.sql("UPDATE products SET description = 'x [[fault:moderated]]' WHERE sku = 'P-0002'")
    with pytest.raises(
        AirflowFailException, match="1 of 8 rows were moderated, more than max_moderated=2%"
    ):
        catalogue.night(products=8)
    assert catalogue.sql(
        "SELECT count(*) FROM products WHERE outcome = 'landed' AND image IS NOT NULL"
    ) == [(7,)]
    assert catalogue.night(products=8)["landed"] == 8
    assert service.stats()["submits"] == 16


def test_a_paid_image_that_did_not_land_is_not_submitted_again(
    service: EmulatorServer,
    catalogue: Catalogue,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    hurry: None,
) -> None:
    """One image cannot be downloaded. ``recover`` lands it, and the next night finds it."""
    from airflow_provider_flux.batch.execution import land

    monkeypatch.setattr(land, "_RETRY_SECONDS", (0.05, 0.1, 0.2))
    catalogue.sql(
        "UPDATE products SET description = 'x [[fault:deliver-503=20]]' WHERE sku = 'P-0002'"
    )
    with pytest.raises(FluxBatchError, match=r"1 of 4 rows have no image \(1 submitted\)"):
        catalogue.night(products=4)
    ((outcome, reason),) = catalogue.sql(
        "SELECT outcome, reason FROM products WHERE sku = 'P-0002'"
    )
    assert outcome == "submitted"
    assert "The generation is billed" in reason
    assert catalogue.night(products=4)["rows"] == 4
    assert catalogue.sql("SELECT outcome FROM products WHERE sku = 'P-0002'") == [("submitted",)]
    assert service.stats()["submits"] == 8

    initdb()
    main(["recover", "--prefix", catalogue.output, "--output", "json"])
    assert '"recovered"' in capsys.readouterr().out
    catalogue.sql("UPDATE products SET outcome = NULL WHERE sku = 'P-0002'")
    summary = catalogue.night(products=1)
    assert (summary["reused"], summary["credits"]) == (1, 0)
    assert catalogue.sql(
        "SELECT outcome, image IS NOT NULL FROM products WHERE sku = 'P-0002'"
    ) == [("reused", 1)]
    assert service.stats()["submits"] == 8


def test_a_new_table_reuses_the_images_in_the_bucket(
    service: EmulatorServer,
    tasks: dict[str, Any],
    s3: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    store = S3Store(s3)
    store.make_bucket()
    monkeypatch.setenv("AIRFLOW_CONN_NIGHTLY_S3", store.connection(store.url))
    output = store.root_by("nightly_s3")
    assert Catalogue(tasks, tmp_path / "one.db", output).night(products=3)["landed"] == 3
    new_table = Catalogue(tasks, tmp_path / "two.db", output)
    assert new_table.night(products=4)["reused"] == 3
    uris = [
        uri
        for (uri,) in new_table.sql(
            "SELECT image FROM products WHERE image IS NOT NULL ORDER BY sku"
        )
    ]
    assert uris == [f"{output}/nightly/images/P-000{n}.jpeg" for n in range(1, 5)]
    assert service.stats()["submits"] == 4
