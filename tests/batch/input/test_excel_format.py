"""Rows of Excel workbooks, as people and programs write them."""

from __future__ import annotations

import io
import sys
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from airflow_provider_flux.batch.input.excel_format import split_sheet
from airflow_provider_flux.batch.input.raw_rows import UnreadableRow
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxConfigurationError
from tests.support.batch_inputs import ROWS, read_all_rows, read_values, refusal_of, write_file
from tests.support.workbooks import as_xlsx, make_workbook, sheet_xml, write_parts


def write(folder: Path, rows: list[list[Any]], name: str = "rows.xlsx") -> str:
    return write_file(folder, name, make_workbook({"Rows": rows}))


def test_a_workbook_gives_the_rows_that_were_written(tmp_path: Path) -> None:
    path = write_file(tmp_path, "rows.xlsx", as_xlsx(ROWS))
    assert read_values(path) == ROWS
    assert read_values(path, ["text"])[2] == {"text": "a chair, no 2"}


def test_a_row_has_the_number_that_the_program_shows(tmp_path: Path) -> None:
    rows: list[list[Any]] = [[], [None, " "], [None, "key", "prompt"], [None, "a", "x"], []]
    rows += [[None, "", None], [None, "b", None]]
    read = list(read_raw_rows(write(tmp_path, rows)))
    assert [(row.line, row.values) for row in read] == [
        (4, {"key": "a", "prompt": "x"}),
        (7, {"key": "b", "prompt": None}),
    ]


def test_columns_without_a_name_and_notes_beside_the_table_are_skipped(tmp_path: Path) -> None:
    rows = [["key", None, "prompt "], ["a", "note", "x", "far"], [None, "only a note"]]
    assert read_values(write(tmp_path, rows)) == [{"key": "a", "prompt": "x"}]


def test_each_type_of_cell_has_the_value_that_is_shown(tmp_path: Path) -> None:
    values = {
        "text": "two\nlines",
        "integer": 7,
        "float": 0.5,
        "whole": 101.0,
        "truth": True,
        "day": date(2026, 1, 5),
        "moment": datetime(2026, 1, 5, 10, 30),
        "midnight": datetime(2026, 1, 5),
        "clock": time(10, 30),
        "error": "#N/A",
        "empty": None,
    }
    (row,) = read_values(write(tmp_path, [list(values), list(values.values())]))
    assert row == values | {
        "day": "2026-01-05",
        "moment": "2026-01-05T10:30:00",
        "midnight": "2026-01-05T00:00:00",
        "clock": "10:30:00",
    }


def test_a_carriage_return_is_a_line_end_and_no_code(tmp_path: Path) -> None:
    path = write(tmp_path, [["key", "prompt"], ["a", "one_x000D_\ntwo_x000D_three"]])
    assert read_values(path) == [{"key": "a", "prompt": "one\ntwo\nthree"}]


def test_a_formula_has_the_value_that_was_calculated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = '<c r="A2" t="str"><f>X1</f><v>a</v></c><c r="B2" t="str"><f>X2</f><v>fox</v></c>'
    rows = f'<row r="2">{cells}</row><row r="3"><c r="A3"><f>1+1</f><v>2</v></c></row>'
    path = write_parts(tmp_path / "a.xlsx", sheet_xml(rows))
    assert read_values(path) == [{"key": "a", "prompt": "fox"}, {"key": 2, "prompt": None}]
    assert "no value" not in caplog.text
    written = write(tmp_path, [["key", "prompt"], ["a", "=UPPER(A2)"], ["b", "=UPPER(A3)"]])
    assert read_values(written)[0] == {"key": "a", "prompt": None}
    assert "2 formulas have no value, so their cells are empty. The first is B2" in caplog.text


def test_a_sheet_is_chosen_by_its_name_or_is_the_first_that_is_not_hidden(tmp_path: Path) -> None:
    sheets = {
        name: [["key", "prompt"], [name, "x"]] for name in ("Draft", "Spring 2026", "My #1.xlsx")
    }
    path = write_file(tmp_path, "a#b.xlsx", make_workbook(sheets, hidden="Draft"))
    for sheet, key in (
        ("", "Spring 2026"),
        ("#Draft", "Draft"),
        ("#Spring 2026", "Spring 2026"),
    ):
        assert read_values(f"{path}{sheet}") == [{"key": key, "prompt": "x"}]
    message = refusal_of(f"{path}#Autumn")
    assert "has no sheet of this name. It has: 'Spring 2026', 'My #1.xlsx', 'Draft'." in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/a/b.xlsx", ("/a/b.xlsx", "")),
        ("/a/b.XLSX#Sheet 1", ("/a/b.XLSX", "Sheet 1")),
        ("s3://c@b/k.xlsx#A.csv", ("s3://c@b/k.xlsx", "A.csv")),
        ("/a#b/c.csv", ("/a#b/c.csv", "")),
        ("", ("", "")),
    ],
)
def test_the_name_of_a_sheet_follows_the_path(text: str, parts: tuple[str, str]) -> None:
    assert split_sheet(text) == parts


def test_a_dimension_that_is_too_small_hides_no_row(tmp_path: Path) -> None:
    """Some programs write ``A1``, and openpyxl would read no further."""
    rows = '<row r="2"><c r="A2"><v>1</v></c><c r="B2" t="inlineStr"><is><t>x</t></is></c></row>'
    path = write_parts(tmp_path / "a.xlsx", sheet_xml(rows, '<dimension ref="A1"/>'))
    assert read_values(path) == [{"key": 1, "prompt": "x"}]


def test_rows_and_cells_without_a_place_follow_each_other(tmp_path: Path) -> None:
    rows = "<row><c><v>1</v></c><c><v>2</v></c></row><row/><row><c><v>3</v></c></row>"
    read = list(read_raw_rows(write_parts(tmp_path / "a.xlsx", sheet_xml(rows))))
    assert [(row.line, row.values) for row in read] == [
        (2, {"key": 1, "prompt": 2}),
        (4, {"key": 3, "prompt": None}),
    ]


def test_a_repeated_or_missing_column_is_refused_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, [["key", "prompt", "prompt"], ["a", "x", "y"]])
    assert "has the column 'prompt' twice" in refusal_of(path)
    assert read_values(path, ["key"]) == [{"key": "a"}]
    assert "no column 'text'" in refusal_of(path, ["text"])
    assert "takes no column_names" in refusal_of_names(path)


def refusal_of_names(path: str) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its text is asserted
        list(read_raw_rows(path, None, ["key", "prompt"]))
    return str(caught.value)


def test_a_sheet_without_rows_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_values(write(tmp_path, [["key", "prompt"]]), ["key"]) == []
    assert read_values(write(tmp_path, []), None) == []
    assert caplog.text.count("requests has no rows") == 2


def test_a_value_that_no_request_has_is_a_problem_of_its_row(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["key", "span"])
    workbook.active.append(["a", 1.5])
    workbook.active["B2"].number_format = "[h]:mm:ss"
    file = io.BytesIO()
    workbook.save(file)
    path = write_file(tmp_path, "a.xlsx", file.getvalue())
    assert read_values(path) == [
        UnreadableRow("span has type timedelta, which JSON cannot represent")
    ]
    assert read_values(path, ["key"]) == [{"key": "a"}]


def test_text_that_stands_for_a_missing_value_counts_as_in_csv(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, [["key", "prompt", "seed"], ["a", "fox", "#REF!"], [7.0, "owl", "5"]])
    first, second = read_all_rows(path)
    assert (first.key, first.problem, first.line) == ("a", None, 2)
    assert (second.key, second.request and second.request.parameters["seed"]) == ("7", 5)
    assert "'#REF!' for seed, line 2" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no Excel workbook (.xlsx), is damaged or has a password"),
        (b"PK\x03\x04 not a zip", "is no Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "has a password"),
        (b"key,prompt\na,x\n", "is no Excel workbook"),
    ],
)
def test_a_file_that_is_no_workbook_is_refused_with_the_way_out(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    message = refusal_of(write_file(tmp_path, "a.xlsx", content))
    assert reason in message
    assert "save it as Excel Workbook (.xlsx), or as CSV UTF-8" in message


def test_a_gzipped_workbook_is_no_input(tmp_path: Path) -> None:
    assert "is text. It must be" in refusal_of(str(tmp_path / "a.xlsx.gz"))


def test_without_openpyxl_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, [["key"], ["a"]])
    monkeypatch.setitem(sys.modules, "airflow_provider_flux.batch.input.excel_workbook", None)
    message = refusal_of(path, kind=FluxConfigurationError)
    assert "pip install 'airflow-provider-flux[excel]'" in message
