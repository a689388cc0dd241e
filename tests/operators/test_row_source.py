"""Rows of a batch from a query: arguments, templates and .sql files, and the whole way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.decorators.flux_batch import flux_batch_task
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.batch_tries import SMALL, batch, quick
from tests.support.memory_use import Measured, measure, run_measured
from tests.support.sql_databases import PASSWORD, PostgresLab, SqliteLab

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
QUERY = "SELECT sku, name FROM products ORDER BY sku"
COLUMNS = {"key": "sku", "prompt": "name"}
#: Rows of the trial of the memory. ``make soak`` reads 100,000.
ROWS = int(os.environ.get("FLUX_SQL_ROWS", "1500"))


def make(**arguments: Any) -> FluxGenerateBatchOperator:
    return FluxGenerateBatchOperator(
        task_id="made", output_path="file:///tmp/x/{key}.{ext}", **arguments
    )


def fill(lab: Any, count: int) -> None:
    mark = "?" if lab.conn_id.endswith("sqlite") else "%s"
    lab.run("CREATE TABLE products (sku text PRIMARY KEY, name text)")
    rows = [(f"sku-{n}", f"fox {n}") for n in range(count)]
    lab.run(f"INSERT INTO products VALUES ({mark}, {mark})", rows)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "requests or sql is required"),
        ({"requests": [], "sql": QUERY, "sql_conn_id": "db"}, "requests and sql are both set"),
        ({"sql": QUERY}, "sql_conn_id is required with sql"),
        ({"requests": [], "sql_conn_id": "db"}, "sql_conn_id is set without sql"),
        ({"requests": [], "sql_parameters": []}, "sql_parameters is set without sql"),
        ({"sql": [QUERY], "sql_conn_id": "db"}, "sql is list, not text"),
        ({"sql": " ", "sql_conn_id": "db"}, "sql is empty"),
        ({"sql": QUERY, "sql_conn_id": "db", "sql_parameters": "7"}, "sql_parameters is str"),
        ({"sql": QUERY, "sql_conn_id": "db", "columns": {"prompt": "name"}}, "columns has no key"),
        ({"sql": QUERY, "sql_conn_id": "db", "column_names": ["a"]}, "Name the columns in sql"),
        ({"requests": [], "column_names": "key"}, "column_names is str, not a list"),
        ({"requests": [], "column_names": ["a", "a"]}, "column_names has 'a' twice"),
        ({"requests": [], "column_names": ["a", 1]}, "is or holds 1"),
        ({"requests": [], "column_names": []}, "is or holds empty"),
        ({"requests": [], "column_names": ["a"], "columns": {"key": 0}}, "columns has positions"),
        ({"requests": [], "column_names": ["a"], "columns": {"key": "b"}}, "does not have"),
    ],
)
def test_wrong_arguments_for_rows_fail_when_the_dag_is_parsed(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        make(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["requests", "sql", "sql_conn_id", "sql_parameters"])
def test_a_function_returns_its_rows_and_names_no_other_source(name: str) -> None:
    @flux_batch_task(output_path="file:///tmp/x/{key}.{ext}", **{name: "x"})
    def rows() -> list[str]:
        return []

    with DAG("d", schedule=None), pytest.raises(FluxRequestError, match=f"{name} is no argument"):
        rows()


# Templates


def run(dag: DAG, **options: Any) -> dict[str, Any]:
    initdb()
    ended = run_dag(dag, **options)
    assert ended.state == "success"
    summary: dict[str, Any] = ended.get_task_instance("images").xcom_pull(task_ids="images")
    return summary


def test_a_sql_file_beside_the_dag_is_rendered_with_its_parameters(
    emulator: EmulatorServer, sqlite: SqliteLab, tmp_path: Path
) -> None:
    fill(sqlite, 4)
    (tmp_path / "query.sql").write_text(
        "{# products #}\nSELECT sku AS key, name AS prompt\nFROM {{ params.table }}\n"
        "WHERE sku > ? -- ends in .sql\n"
    )
    with DAG(
        "d", schedule=None, template_searchpath=str(tmp_path), params={"table": "products"}
    ) as dag:
        FluxGenerateBatchOperator(
            task_id="images",
            sql="query.sql",
            sql_conn_id="{{ 'flux_test_' ~ 'sqlite' }}",
            sql_parameters=["{{ 'sku-' ~ 1 }}"],
            defaults=SMALL,
            output_path=f"{tmp_path}/{{key}}.{{ext}}",
        )
    assert run(dag)["landed"] == 2
    assert sorted(path.stem for path in tmp_path.glob("*.jpeg")) == ["sku-2", "sku-3"]


def test_each_map_index_renders_the_sql_file_for_itself(
    emulator: EmulatorServer, sqlite: SqliteLab, tmp_path: Path
) -> None:
    fill(sqlite, 2)
    (tmp_path / "one.sql").write_text(
        "SELECT sku AS key, name || ' {{ ds is string }}' AS prompt FROM products WHERE sku = ?"
    )
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)) as dag:
        FluxGenerateBatchOperator.partial(
            task_id="images",
            sql="one.sql",
            sql_conn_id=sqlite.conn_id,
            defaults=SMALL,
            output_path=f"{tmp_path}/{{{{ ti.map_index }}}}/{{key}}.{{ext}}",
        ).expand(sql_parameters=[["sku-0"], ["sku-1"]])
    initdb()
    assert run_dag(dag).state == "success"
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.jpeg")) == [
        "0/sku-0.jpeg",
        "1/sku-1.jpeg",
    ]
    sidecar = json.loads((tmp_path / "0" / "sku-0.jpeg.json").read_text())
    assert sidecar["request"]["prompt"] == "fox 0 True"


def test_only_sql_names_a_file_and_a_prompt_that_ends_in_sql_does_not(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (tmp_path / "poster.sql").write_text("a text of the disk")
    with DAG("d", schedule=None, template_searchpath=str(tmp_path), params={"w": "of"}) as dag:
        FluxGenerateBatchOperator(
            task_id="images",
            requests=["poster.sql", "A poster {{ params.w }} schema.sql"],
            defaults=SMALL,
            output_path=f"{tmp_path}/{{key}}.{{ext}}",
        )
    dag.resolve_template_files()
    assert run(dag)["landed"] == 2
    sidecars = [json.loads((tmp_path / f"{n}.jpeg.json").read_text()) for n in "01"]
    assert [sidecar["request"]["prompt"] for sidecar in sidecars] == [
        "poster.sql",
        "A poster of schema.sql",
    ]


def test_a_sql_file_that_does_not_exist_fails_when_the_dag_is_parsed(tmp_path: Path) -> None:
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)) as dag:
        make(sql="nowhere.sql", sql_conn_id="db")
    with pytest.raises(FluxRequestError, match=r"sql='nowhere\.sql': this file is neither beside"):
        dag.resolve_template_files()


def test_tuples_of_a_task_are_named_by_column_names(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    @task
    def rows() -> list[Any]:
        return [("a", "fox {{ 1 }}", None), ["b", "owl", 7]]

    with DAG("d", schedule=None) as dag:
        FluxGenerateBatchOperator(
            task_id="images",
            requests=rows(),
            column_names=["sku", "text", "number"],
            columns={"key": "sku", "prompt": "text", "seed": "number"},
            defaults=SMALL,
            output_path=f"{tmp_path}/{{key}}.{{ext}}",
        )
    assert run(dag)["landed"] == 2
    assert json.loads((tmp_path / "a.jpeg.json").read_text())["request"]["prompt"] == "fox {{ 1 }}"
    assert json.loads((tmp_path / "b.jpeg.json").read_text())["seed"] == 7


# The whole way


def test_the_products_of_a_postgresql_table_land_and_a_retry_is_free(
    emulator: EmulatorServer, postgres: PostgresLab, tmp_path: Path
) -> None:
    fill(postgres, 30)
    task_ = batch(tmp_path, None, sql=QUERY + ";", sql_conn_id=postgres.conn_id, columns=COLUMNS)
    assert task_.retry()["landed"] == 30
    assert [row["key"] for row in task_.manifest()][:2] == ["sku-0", "sku-1"]
    assert PASSWORD not in json.dumps(task_.ti.xcoms)
    task_.arguments["sql"] = QUERY.replace("ORDER BY sku", "ORDER BY name DESC")
    assert task_.retry()["landed"] == 30
    assert int(emulator.stats()["submits"]) == 30


def test_the_connection_to_the_database_is_closed_before_the_first_submit(
    emulator: EmulatorServer, postgres: PostgresLab, tmp_path: Path
) -> None:
    fill(postgres, 20)
    task_ = batch(tmp_path, None, sql=QUERY, sql_conn_id=postgres.conn_id, columns=COLUMNS)
    sessions: list[tuple[int, int]] = []
    operator, context = task_.new_operator(), task_.context()

    class Watch:
        """A monitor that is asked before the first submit, and told of each progress."""

        def confirm(self, expected: Any) -> None:
            sessions.append((expected.to_submit, postgres.sessions()))

        def start(self, stop: Any) -> None: ...

        def update(self, report: Any) -> None: ...

    operator._monitor = Watch()
    assert operator.execute(context)["landed"] == 20
    assert sessions == [(20, 0)]


def test_the_memory_of_a_batch_does_not_grow_with_its_table(
    emulator: EmulatorServer, postgres: PostgresLab, tmp_path: Path
) -> None:
    """All rows are read, checked and stored. Then they are found to cost too much."""
    postgres.run(
        "CREATE TABLE products AS SELECT 'sku-' || n AS sku, repeat('fox ', 60) || n AS name "
        f"FROM generate_series(1, {ROWS}) n"
    )
    arguments = (_load_few_and_all, postgres.conn_id, str(tmp_path))
    few, many = (measure if ROWS >= 10_000 else run_measured)(*arguments).outcome
    print(f"{ROWS} rows: +{many.grown_mib:.1f} MiB over 1000 rows, {many.seconds:.1f} s")  # noqa: T201
    assert "expected to cost 4000 credits" in few
    assert f"expected to cost {4 * ROWS:g} credits" in many.outcome
    assert many.grown_mib < 80
    assert int(emulator.stats()["submits"]) == 0


def _load_few_and_all(conn_id: str, folder: str) -> tuple[str, Measured]:
    """Load few rows, then all, and return the messages, with the growth in between."""

    def load(limit: int) -> str:
        task_ = batch(
            Path(folder, str(limit)),
            None,
            sql="SELECT sku, name FROM products LIMIT %(limit)s",
            sql_conn_id=conn_id,
            sql_parameters={"limit": limit},
            columns=COLUMNS,
            max_cost=1,
        )
        return task_.fail(AirflowFailException)

    few = load(1000)
    return few, run_measured(load, ROWS)


def test_a_query_that_fails_submits_nothing_and_uses_no_retries(
    emulator: EmulatorServer, postgres: PostgresLab, tmp_path: Path
) -> None:
    task_ = batch(tmp_path, None, sql="SELECT x FROM nothing", sql_conn_id=postgres.conn_id)
    message = task_.fail(AirflowFailException)
    assert 'SQLSTATE 42P01: relation "nothing" does not exist' in message
    assert PASSWORD not in message
    assert int(emulator.stats()["submits"]) == 0
