"""``failed_path`` of a batch: the rows that did not work, run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxStorageError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from tests.support.batch_tries import batch, quick
from tests.support.sql_databases import SqlLab

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

ROWS = [
    {"sku": 101, "text": "a fox", "shop": "north"},
    {"sku": 102, "text": "a hen [[fault:moderated]]", "shop": "=1+1"},
    {"sku": 103, "text": "an owl [[fault:error]]", "shop": "a,b"},
]
COLUMNS = {"key": "sku", "prompt": "text"}


def write_input(folder: Path, form: str, postgres: SqlLab) -> dict[str, Any]:
    """Write the rows in a form, and return the arguments that read them."""
    path = folder / f"rows.{form}"
    if form == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    elif form == "csv":
        lines = [f'{row["sku"]},"{row["text"]}","{row["shop"]}"\n' for row in ROWS]
        path.write_text("".join(["sku,text,shop\n", *lines]))
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif form == "list":
        return {"requests": ROWS}
    else:
        postgres.run("CREATE TABLE products (sku INTEGER, text TEXT, shop TEXT)")
        values = [tuple(row.values()) for row in ROWS]
        postgres.run("INSERT INTO products VALUES (%s, %s, %s)", values)
        query = "SELECT * FROM products ORDER BY sku"
        return {"requests": None, "sql": query, "sql_conn_id": postgres.conn_id}
    return {"requests": str(path)}


@pytest.mark.parametrize(
    ("form", "ending"),
    [
        ("csv", "csv"),
        ("jsonl", "jsonl"),
        ("parquet", "parquet"),
        ("list", "csv"),
        ("sql", "parquet"),
    ],
)
def test_the_rows_that_did_not_work_run_again_under_their_keys(
    emulator: EmulatorServer, tmp_path: Path, postgres: SqlLab, form: str, ending: str
) -> None:
    source = write_input(tmp_path, form, postgres)
    path = f"{tmp_path}/failed.{ending}"
    arguments = {"columns": COLUMNS, "max_failed": None, "failed_path": path}
    first = batch(tmp_path / "first", **source, **arguments)
    assert first.retry()["failed_path"] == path
    assert first.counts() == {"landed": 1, "moderated": 1, "failed": 1}

    again = batch(tmp_path / "again", path, columns=COLUMNS, max_failed=None)
    again.retry()
    assert [row["key"] for row in again.manifest()] == ["102", "103"]
    assert again.counts() == {"moderated": 1, "failed": 1}


def test_a_file_that_cannot_be_written_fails_the_task_and_loses_nothing(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    path = tmp_path / "failed.csv"
    path.mkdir()
    task = batch(tmp_path, ["a fox"], failed_path=str(path))
    task.fail(FluxStorageError, match=r"failed.csv could not be written")
    assert task.outcomes() == ["landed"]
    submits = emulator.stats()["submits"]
    path.rmdir()
    task.retry()
    assert path.read_text() == "key,prompt\n"
    assert emulator.stats()["submits"] == submits


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("failed.csv", r"failed_path='failed.csv' is relative"),
        ("/x/failed.txt", r"must end in one of .jsonl, .ndjson, .csv, .parquet"),
        ("/x/rows.csv", r"would replace the input"),
        ("/x/m.jsonl", r"would replace the manifest"),
    ],
)
def test_a_wrong_literal_is_refused_when_the_dag_is_parsed(path: str, message: str) -> None:
    with pytest.raises(FluxRequestError, match=message):
        FluxGenerateBatchOperator(
            task_id="t",
            requests="/x/rows.csv",
            output_path="/x/{key}.{ext}",
            manifest_path="/x/m.jsonl",
            failed_path=path,
        )


@pytest.mark.parametrize("name", ["manifest-hero.jsonl", "_flux/ledger/a.jsonl"])
def test_a_file_of_the_batch_is_not_replaced(
    emulator: EmulatorServer, tmp_path: Path, name: str
) -> None:
    task = batch(tmp_path, ["a fox"], failed_path=f"{tmp_path}/out/{name}")
    task.fail(AirflowFailException, match="would replace")
    assert emulator.stats()["submits"] == 0
