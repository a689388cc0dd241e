"""Options of commands that name rows: a file or a query, and never both."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.cli.row_options import read_row_options
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.sql_databases import SqliteLab

QUERY = "SELECT sku AS key, name AS prompt FROM products"


def options(**given: Any) -> argparse.Namespace:
    names = ("file", "sql", "sql_conn_id", "sql_parameters", "column_names")
    return argparse.Namespace(**{**dict.fromkeys(names), **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "FILE or --sql is required"),
        ({"file": "/rows.csv", "sql": QUERY}, "FILE and --sql are both given"),
        ({"sql": QUERY}, "--sql needs --sql-conn-id"),
        ({"file": "/rows.csv", "sql_conn_id": "db"}, "--sql-conn-id needs --sql"),
        ({"sql": QUERY, "sql_conn_id": "db", "sql_parameters": "7"}, "must be a JSON object or"),
        ({"sql": QUERY, "sql_conn_id": "db", "column_names": "a"}, "Name the columns in --sql"),
        ({"sql": "/nowhere.sql", "sql_conn_id": "db"}, "/nowhere.sql does not exist"),
        ({"sql": " ", "sql_conn_id": "db"}, "sql is empty"),
        ({"file": "/nowhere.xlsx#Sheet"}, "/nowhere.xlsx#Sheet does not exist"),
    ],
)
def test_options_that_name_no_rows_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(FluxRequestError) as caught:
        read_row_options(options(**given))
    assert message in str(caught.value)


def test_a_query_of_a_file_is_the_query_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "products.sql").write_text(QUERY)
    query = {"sql": str(tmp_path / "products.sql"), "sql_conn_id": "db", "sql_parameters": "[7]"}
    rows = read_row_options(options(**query))
    assert (rows.name, rows.arguments) == (
        "products",
        {"sql": QUERY, "sql_conn_id": "db", "sql_parameters": [7]},
    )
    assert (
        rows.identity
        == read_row_options(options(sql=QUERY, sql_conn_id="db", sql_parameters="[7]")).identity
    )


def test_names_of_columns_are_separated_by_commas(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('["a", "fox"]\n')
    rows = read_row_options(options(file=str(tmp_path / "rows.jsonl"), column_names="key, prompt"))
    assert rows.arguments["column_names"] == ["key", "prompt"]


def test_the_command_prices_and_lands_the_rows_of_a_query_and_pays_once(
    command: Callable[..., Any], emulator: EmulatorServer, sqlite: SqliteLab, tmp_path: Path
) -> None:
    sqlite.run("CREATE TABLE products (sku text, name text)")
    sqlite.run("INSERT INTO products VALUES (?, ?)", [("a", "fox"), ("b", "owl")])
    query = ["--sql", QUERY, "--sql-conn-id", sqlite.conn_id]
    priced = command("estimate", *query, "-o", "json")
    assert (priced.code, '"credits": 8' in priced.out) == (0, True)
    small = ["--defaults", '{"width": 256, "height": 256}']
    images = ["batch", *query, *small, "--output-path", f"{tmp_path}/{{key}}.{{ext}}", "--yes"]
    assert command(*images).code == 0
    assert command(*images).code == 0
    assert sorted(path.stem for path in tmp_path.glob("*.jpeg")) == ["a", "b"]
    assert emulator.submits() == 2
    wrong = command("estimate", "--sql", "SELECT x FROM y", "--sql-conn-id", sqlite.conn_id)
    assert (wrong.code, "no such table" in wrong.err) == (2, True)
