"""Files of rows: formats, stores, and errors of files that cannot be read."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxInputError
from tests.support.batch_inputs import (
    FILES,
    ROWS,
    ROWS_AS_TEXT,
    as_csv,
    as_jsonl,
    as_parquet,
    read_values,
    refusal_of,
    write_file,
)
from tests.support.cluster.processes import free_port
from tests.support.object_stores import Store, s3_connection

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("ending", FILES)
def test_every_format_is_read_from_every_store(store: Store, ending: str) -> None:
    uri = f"{store.root}/rows{ending}"
    ObjectStoragePath(uri).write_bytes(FILES[ending](ROWS))
    assert read_values(uri) == (ROWS_AS_TEXT if ".csv" in ending else ROWS)
    assert read_values(ObjectStoragePath(uri), ["text"]) == [{"text": row["text"]} for row in ROWS]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ".JSONL", ".Csv", ".PARQUET"])
def test_a_local_file_is_read_by_its_path(tmp_path: Path, ending: str) -> None:
    path = write_file(tmp_path, f"rows ü{ending}", FILES[ending.lower()](ROWS[:3]))
    for source in (path, Path(path), f"file://{path}"):
        assert [dict(row)["sku"] for row in read_values(source)] == ["s0", "s1", "s2"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "source", ["a red chair", "/data/rows.json", "rows.xls", "s3://b/rows.parquet.gz", "{}", ""]
)
def test_other_text_is_refused_with_the_accepted_sources(source: str) -> None:
    message = refusal_of(source)
    assert repr(source) in message
    assert ".jsonl, .csv, .parquet or .xlsx" in message
    assert ".output" in message


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("/data/x.xls", "ends in .xls, which is not supported. Save it as .xlsx"),
        ("s3://b/x.ODS", "ends in .ods, which is not supported. Save it as .xlsx"),
        ("x.json.gz", "Write each row in a line of its own"),
        ("x.csv.zip", "Unpack it"),
        ("x.avro", "Write it as .parquet"),
        ("x.txt", "give it a name that ends in .csv"),
    ],
)
def test_a_file_of_another_format_is_refused_with_the_remedy(source: str, remedy: str) -> None:
    """Fault 28: ``requests="x.xls"`` was said to be text."""
    assert remedy in refusal_of(source)
    assert "is text" not in refusal_of(source)


def test_an_error_about_the_input_shows_neither_long_text_nor_a_secret() -> None:
    message = refusal_of(f"s3://key:hunter2@b/{'x' * 5000}")
    assert "hunter2" not in message
    assert len(message) < 600


@pytest.mark.parametrize("source", ["rows.csv", "data/rows.jsonl", "./rows.parquet"])
def test_a_relative_path_of_an_input_file_is_refused(source: str) -> None:
    assert "is relative" in refusal_of(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", b'{"prompt": "a"}', "is truncated or not gzip"),
        ("a.jsonl.gz", gzip.compress(as_jsonl(ROWS))[:-20], "is truncated or not gzip"),
        ("a.csv.gz", gzip.compress(as_csv(ROWS))[:100], "is truncated or not gzip"),
        ("a.parquet", b"", "cannot be read"),
        ("a.parquet", b"prompt\na\n", "cannot be read"),
        ("a.parquet", as_parquet(ROWS)[:-50], "cannot be read"),
    ],
)
def test_a_broken_file_is_refused_as_input(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    assert message in refusal_of(write_file(tmp_path, name, content))


def test_a_missing_input_file_is_worth_a_retry(store: Store, tmp_path: Path) -> None:
    assert "does not exist" in refusal_of(f"{store.root}/rows.csv", kind=FluxInputError)
    assert "does not exist" in refusal_of(
        str(tmp_path / "no" / "rows.parquet"), kind=FluxInputError
    )


def test_a_folder_is_refused_as_an_input_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").mkdir()
    assert "cannot be read" in refusal_of(str(tmp_path / "rows.csv"))


def test_a_missing_bucket_is_worth_a_retry_and_a_missing_connection_is_not(aws_lab: str) -> None:
    assert "does not exist" in refusal_of(
        f"s3://{aws_lab}@no-such-bucket/rows.csv", kind=FluxInputError
    )
    assert "requests=" in refusal_of("s3://no_such_conn@b/rows.csv", kind=FluxConfigurationError)


def test_an_unreachable_store_of_the_input_is_worth_a_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_ROWS_DOWN", s3_connection(f"http://127.0.0.1:{free_port()}")
    )
    assert "could not be read" in refusal_of("s3://aws_rows_down@b/rows.csv", kind=FluxInputError)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_large_input_file_is_never_in_memory_as_a_whole(aws_lab: str, ending: str) -> None:
    ObjectStoragePath(f"s3://{aws_lab}@media/").mkdir(exist_ok=True)
    uri = f"s3://{aws_lab}@media/large{ending}"
    count, text = 10_000, "wood " * 200
    content = FILES[ending](
        [{"prompt": f"{n} {text}", "other": f"{n}{text}"} for n in range(count)]
    )
    ObjectStoragePath(uri).write_bytes(content)
    del content
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_raw_rows(uri, ["prompt"])) == count
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
