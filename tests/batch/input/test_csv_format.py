"""CSV files as spreadsheets, databases and data frames write them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from airflow_provider_flux.batch.input.raw_rows import RawRow, UnreadableRow
from airflow_provider_flux.batch.input.sources import read_raw_rows
from tests.support.batch_inputs import as_csv, read_values, refusal_of, write_file


def test_a_csv_row_with_too_few_or_too_many_cells_is_unreadable_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    rest = "but the header has 2. Write quotes around cells with delimiters or line ends"
    content = b'\xef\xbb\xbfprompt,width\r\n"a, ""b""\r\nc",512\r\nd\r\n\r\ne,1,2\r\nf,\r\n'
    assert list(read_raw_rows(write_file(tmp_path, "rows.csv", content))) == [
        RawRow(2, {"prompt": 'a, "b"\r\nc', "width": "512"}),
        RawRow(4, UnreadableRow(f"has 1 cell, {rest}")),
        RawRow(6, UnreadableRow(f"has 3 cells, {rest}")),
        RawRow(7, {"prompt": "f", "width": None}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'prompt\n"a\nb\nc\n', "line 4 is not CSV"),
        (b'prompt\n"a"b\n', "line 2 is not CSV"),
        (b"prompt\na\n\xe9\n", "line 3 is not UTF-8"),
        ("prompt\na\n".encode("utf-16"), "is UTF-16. Save it as UTF-8"),
        (b"prompt,width,prompt\na,1,b\n", "has the column 'prompt' twice"),
    ],
)
def test_malformed_csv_is_refused_as_a_whole(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal_of(write_file(tmp_path, "rows.csv", content))


def test_a_csv_cell_may_hold_an_image_as_base64(tmp_path: Path) -> None:
    image = base64.b64encode(bytes(300_000)).decode()
    path = write_file(tmp_path, "rows.csv", as_csv([{"input_image": image}]))
    assert read_values(path) == [{"input_image": image}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("columns", [None, ["prompt", "key"], ["prompt"]])
def test_the_delimiter_is_the_one_that_gives_the_expected_names(
    tmp_path: Path, delimiter: str, columns: list[str] | None
) -> None:
    content = f"key{delimiter}prompt\r\na{delimiter}a chair\r\n".encode()
    (row,) = read_values(write_file(tmp_path, "rows.csv", content), columns)
    assert row == {
        name: value
        for name, value in {"key": "a", "prompt": "a chair"}.items()
        if columns is None or name in columns
    }


def test_a_delimiter_in_the_prompts_is_no_delimiter_of_the_file(tmp_path: Path) -> None:
    path = write_file(tmp_path, "rows.csv", b"prompt\na;b|c\td\n")
    assert read_values(path) == [{"prompt": "a;b|c\td"}]
    path = write_file(tmp_path, "rows.csv", b"the key,a;b;c\nk,a chair\n")
    assert read_values(path, ["the key"]) == [{"the key": "k"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_carries_nothing_in_a_file_of_a_spreadsheet_is_skipped(
    tmp_path: Path, delimiter: str
) -> None:
    """Fault 23: empty columns, lines of delimiters and unread duplicates were refused."""
    header, blank = "key,note,prompt,note,,", " , ,,,,"
    lines = ["", ",,,,,", header, "a,x,p,y,,", ",,,,,", "", blank, "b,,q", ","]
    content = "\r\n".join(lines).replace(",", delimiter).encode()
    path = write_file(tmp_path, "rows.csv", content)
    first, second = read_raw_rows(path, ["key", "prompt"])
    assert first == RawRow(4, {"key": "a", "prompt": "p"})
    assert second.line == 8
    assert isinstance(second.values, UnreadableRow)  # it lacks a named column


def test_a_value_in_a_column_without_a_name_is_the_rest_of_a_prompt(tmp_path: Path) -> None:
    """Fault 23: a skipped column must not cut a prompt."""
    path = write_file(tmp_path, "rows.csv", b",key,prompt,\n0,a,a chair, red\n1,b,a lamp,\n")
    first, second = read_values(path)
    assert first == UnreadableRow(
        "has ' red' in column 4, which has no name. Write quotes around cells with delimiters"
    )
    assert second == {"key": "b", "prompt": "a lamp"}
