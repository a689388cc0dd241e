"""JSONL and Parquet files, and what all formats share."""

from __future__ import annotations

import gzip
import io
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_flux.batch.input import file_formats
from airflow_provider_flux.batch.input.raw_rows import UnreadableRow
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxConfigurationError
from tests.support.batch_inputs import ROWS, as_parquet, read_values, refusal_of, write_file


def empty_inputs() -> list[tuple[str, bytes]]:
    """Return files without a row: empty, with blank lines only, with a header only."""
    parquet = io.BytesIO()
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), parquet)
    lines = [
        (".jsonl", b""),
        (".jsonl", b"\n \n"),
        (".csv", b""),
        (".csv", b"prompt\r\n"),
        (".csv", b"prompt\n\n\n"),
    ]
    return [*lines, (".parquet", parquet.getvalue())]


@pytest.mark.parametrize(("ending", "content"), empty_inputs())
def test_an_empty_file_has_no_rows(tmp_path: Path, ending: str, content: bytes) -> None:
    assert read_values(write_file(tmp_path, f"rows{ending}", content), ["prompt"]) == []


def test_unreadable_jsonl_lines_keep_their_number_and_the_others_are_read(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"prompt": "a"}',
        b"",
        b'{"prompt": ',
        b'{"prompt": "\xe9"}',
        b"[1]",
        b'"b"',
        b"9" * 5000,
    ]
    rows = list(read_raw_rows(write_file(tmp_path, "rows.jsonl", b"\r\n".join(lines))))
    assert [row.line for row in rows] == [1, 3, 4, 5, 6, 7]
    first, not_json, not_utf8, a_list, prompt, number = (row.values for row in rows)
    assert first == {"prompt": "a"}
    assert prompt == "b"
    assert isinstance(not_json, UnreadableRow)
    assert not_json.problem.startswith("is not JSON")
    assert not_utf8 == UnreadableRow("is not UTF-8")
    assert isinstance(a_list, UnreadableRow)
    assert a_list.problem.startswith("is a list, neither a prompt nor a dict")
    assert isinstance(number, UnreadableRow)
    assert number.problem.startswith("cannot be read")


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_an_endless_line_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(file_formats, "MAX_LINE_BYTES", 1024 * 1024)
    path = write_file(
        tmp_path, f"rows{ending}.gz", gzip.compress(bytes(200 * 1024 * 1024), compresslevel=1)
    )
    tracemalloc.start()
    try:
        assert "line 1 is longer than 1 MiB" in refusal_of(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_reading_parquet_without_pyarrow_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path, "rows.parquet", as_parquet(ROWS))
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'airflow-provider-flux[parquet]'" in refusal_of(
        path, kind=FluxConfigurationError
    )


def test_a_parquet_cell_that_python_cannot_hold_is_the_problem_of_its_row(tmp_path: Path) -> None:
    """Fault 27: one such cell ended the whole batch."""
    days = pa.array([0, 2**30], pa.int32()).cast(pa.date32())
    file = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a", "b"], "key": days}), file)
    path = write_file(tmp_path, "rows.parquet", file.getvalue())
    first, second = read_values(path)
    assert first == {"prompt": "a", "key": "1970-01-01"}
    assert isinstance(second, UnreadableRow)
    assert "'key' cannot be read (OverflowError" in second.problem


@pytest.mark.parametrize(
    "content", [b'[{"prompt": "a"}]', b'[\n{"prompt": "a"}\n]', b'{\n"prompt": "a"\n}\n']
)
def test_json_of_several_lines_is_refused_with_the_command_that_splits_it(
    tmp_path: Path, content: bytes
) -> None:
    assert "jq -c" in refusal_of(write_file(tmp_path, "rows.jsonl", content))
