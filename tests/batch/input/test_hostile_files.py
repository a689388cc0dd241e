"""Files of rows that expand: each of them is small, and is read in a process of its own."""

from __future__ import annotations

import base64
import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_flux.batch.input.raw_rows import UnreadableRow
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.memory_use import MAX_GROWTH_MIB, Measured, measure, run_measured
from tests.support.sample_media import MIB

MANY = 120 * MIB


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a file that repeats values by its dictionary, its run lengths and its compression."""
    pq.write_table(table, path, compression="zstd")


def write_dictionary(path: Path) -> None:
    """Write one text of 1 MiB in 160 rows."""
    write_parquet(path, pa.table({"prompt": pa.array(["x" * MIB] * 160)}))


def write_dictionary_in_lists(path: Path) -> None:
    """Write one text of 1 MiB in lists of 160 rows."""
    write_parquet(path, pa.table({"prompt": pa.array([["x" * MIB]] * 160)}))


def write_large_page(path: Path) -> None:
    """Write one text of 120 MiB without a dictionary."""
    table = pa.table({"prompt": pa.array(["x" * MANY])})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def write_long_list(path: Path) -> None:
    """Write 5 million equal numbers in one row."""
    numbers = pa.array([0]).take(pa.nulls(5_000_000, pa.int64()).fill_null(0))
    table = pa.table({"seeds": pa.ListArray.from_arrays([0, 5_000_000], numbers)})
    write_parquet(path, table)


def write_gzip(path: Path, *pieces: bytes) -> None:
    """Write a gzipped file."""
    with gzip.open(path, "wb", compresslevel=4) as file:
        for piece in pieces:
            file.write(piece)


FILES: dict[str, Callable[[Path], None]] = {
    "dictionary.parquet": write_dictionary,
    "lists.parquet": write_dictionary_in_lists,
    "page.parquet": write_large_page,
    "list.parquet": write_long_list,
    "line.jsonl.gz": lambda path: write_gzip(path, b'{"prompt": "', b"x" * MANY, b'"}'),
    "lists.jsonl.gz": lambda path: write_gzip(path, b"[", b"[0]," * (MIB + MIB // 2), b"0]"),
    "quote.csv.gz": lambda path: write_gzip(path, b'prompt\n"', b"xxxxxxxxx\n" * (MANY // 10)),
    "commas.csv.gz": lambda path: write_gzip(path, b"prompt\n", b"," * (7 * MIB)),
    "header.csv.gz": lambda path: write_gzip(path, b"a," * (3 * MIB), b"\n"),
}


def test_no_small_file_of_rows_fills_the_memory(tmp_path: Path) -> None:
    """Fault 9: a Parquet file under 1 KiB filled 1 GB."""
    for name, write in FILES.items():
        write(tmp_path / name)
        assert (tmp_path / name).stat().st_size < MIB
    runs = measure(_read_all, str(tmp_path)).outcome
    assert {name: run for name, run in runs.items() if run.grown_mib >= MAX_GROWTH_MIB} == {}
    outcomes = {name: run.outcome for name, run in runs.items()}
    read = {name: outcomes.pop(name) for name in ("dictionary.parquet", "lists.parquet")}
    assert read == {"dictionary.parquet": "160 rows ", "lists.parquet": "160 rows "}
    for name, outcome in outcomes.items():
        assert "FluxRequestError: requests=" in outcome or "has more than" in outcome, name


def _read_all(folder: str) -> dict[str, Measured]:
    open_path(folder)
    return {path.name: run_measured(_read, str(path)) for path in Path(folder).iterdir()}


def _read(path: str) -> str:
    count, problem = 0, ""
    try:
        for row in read_raw_rows(path):
            count += 1
            if isinstance(row.values, UnreadableRow):
                problem = row.values.problem
    except FluxError as error:
        problem = f"{type(error).__name__}: {error}"
    return f"{count} rows {problem}"


def test_a_large_input_in_a_gzipped_row_is_read(tmp_path: Path) -> None:
    """Fault 9: base64 of an image hardly compresses, so its line may be long."""
    text = base64.b64encode(random.Random(1).randbytes(9 * MIB))
    write_gzip(tmp_path / "a.jsonl.gz", b'{"prompt": "x", "input_image": "', text, b'"}\n')
    (row,) = read_raw_rows(str(tmp_path / "a.jsonl.gz"))
    assert isinstance(row.values, dict)
    assert row.values["input_image"] == text.decode()


def test_ordinary_texts_of_parquet_are_read_as_they_are(tmp_path: Path) -> None:
    """Fault 9: the dictionary of a text column changes no value."""
    table = pa.table(
        {
            "prompt": ["a", None, "a", "b"],
            "tags": [["x", "x"], [], None, ["y"]],
            "more": [{"k": "v"}, {"k": None}, None, {"k": "v"}],
            "seed": [1, 2, None, 4],
        }
    )
    write_parquet(tmp_path / "a.parquet", table)
    rows = [row.values for row in read_raw_rows(str(tmp_path / "a.parquet"))]
    assert rows == table.to_pylist()
