"""JSONL, CSV and Parquet files, line by line."""

from __future__ import annotations

import base64
import gzip
import io
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_flux.batch.input import file_formats
from airflow_provider_flux.batch.input.raw_rows import RawRow, UnreadableRow
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxConfigurationError
from tests.support.batch_inputs import ROWS, as_csv, as_parquet, read_values, refusal_of, write_file


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
    assert a_list == UnreadableRow("is a list, neither a prompt nor a dict")
    assert isinstance(number, UnreadableRow)
    assert number.problem.startswith("cannot be read")


def test_a_csv_row_with_too_few_or_too_many_cells_is_unreadable_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    content = b'\xef\xbb\xbfprompt,width\r\n"a, ""b""\r\nc",512\r\nd\r\n\r\ne,1,2\r\nf,\r\n'
    assert list(read_raw_rows(write_file(tmp_path, "rows.csv", content))) == [
        RawRow(2, {"prompt": 'a, "b"\r\nc', "width": "512"}),
        RawRow(4, UnreadableRow("has 1 cells, but the header has 2")),
        RawRow(6, UnreadableRow("has 3 cells, but the header has 2")),
        RawRow(7, {"prompt": "f", "width": None}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'prompt\n"a\nb\nc\n', "line 4 is not CSV"),
        (b'prompt\n"a"b\n', "line 2 is not CSV"),
        (b"prompt\na\n\xe9\n", "line 3 is not UTF-8"),
        ("prompt\na\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"prompt,width,prompt\na,1,b\n", "has the column 'prompt' twice"),
    ],
)
def test_malformed_csv_is_refused_as_a_whole(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal_of(write_file(tmp_path, "rows.csv", content))


def test_a_csv_cell_may_hold_an_image_as_base64(tmp_path: Path) -> None:
    image = base64.b64encode(bytes(300_000)).decode()
    path = write_file(tmp_path, "rows.csv", as_csv([{"input_image": image}]))
    assert read_values(path) == [{"input_image": image}]


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
