"""Workbooks of strangers: each is small, and is read in little memory or refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_BZIP2, ZipFile

import pytest

from airflow_provider_flux.batch.input.raw_rows import UnreadableRow
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.batch_inputs import refusal_of
from tests.support.memory_use import MAX_GROWTH_MIB, Measured, run_measured
from tests.support.sample_media import MIB
from tests.support.workbooks import MAIN, PARTS, sheet_xml, write_parts

ROW = '<row r="2"><c r="A2"><v>1</v></c></row>'


def strings(texts: str) -> str:
    return f'<sst xmlns="{MAIN}">{texts}</sst>'


def repeated_rows(count: int) -> str:
    return sheet_xml("<row/>" * count)


def wide_rows() -> str:
    rows = (f'<row r="{n}"><c r="XFD{n}"><v>7</v></c></row>' for n in range(2, 1000))
    return sheet_xml("".join(rows))


def after_rows(xml: str) -> str:
    return sheet_xml(ROW).replace("</worksheet>", f"{xml}</worksheet>")


LONG = "x" * 20 * MIB
#: The sheet of a hostile workbook, by a name.
SHEETS: dict[str, Callable[[], str]] = {
    "empty rows": lambda: repeated_rows(30_000),
    "too many rows": lambda: sheet_xml('<row r="1048576"/><row/>'),
    "far row": lambda: sheet_xml('<row r="1048577"/>'),
    "row of a billion": lambda: sheet_xml('<row r="999999999999"/>'),
    "last row": lambda: sheet_xml('<row r="1048576"><c><v>7</v></c></row>'),
    "wide rows": wide_rows,
    "far cell": lambda: sheet_xml('<row r="2"><c r="ZZZ2"/></row>'),
    "many cells": lambda: sheet_xml(f'<row r="2">{"<c/>" * 200_000}</row>'),
    "long value": lambda: sheet_xml(f'<row r="2"><c t="str"><v>{LONG}</v></c></row>'),
    "long attribute": lambda: sheet_xml(f'<row r="2" x="{LONG}"/>'),
    "many columns": lambda: sheet_xml("", "<col/>" * 200_000),
    "many merged cells": lambda: after_rows('<mergeCell ref="A1"/>' * 200_000),
}
#: Another part of a hostile workbook, by its name.
PARTS_BESIDE: dict[str, Callable[[], str]] = {
    "sharedStrings": lambda: strings("<si><t>a</t></si>" * 400_000),
    "sharedStrings ": lambda: strings(f"<si><t>{LONG}</t></si>"),
    "sharedStrings  ": lambda: repeated_rows(200_000),
    "styles": lambda: repeated_rows(200_000),
}
#: Rows of the workbooks that are read. All others are refused.
READ = {"empty rows": 0, "last row": 1, "wide rows": 0, "many merged cells": 1}


def test_no_small_workbook_fills_the_memory(tmp_path: Path) -> None:
    for name, make in SHEETS.items():
        write_parts(tmp_path / f"{name}.xlsx", make())
    for name, make in PARTS_BESIDE.items():
        write_parts(tmp_path / f"{name}.xlsx", sheet_xml(ROW), **{name.strip(): make()})
    for path in tmp_path.iterdir():
        assert path.stat().st_size < MIB, path.name
    runs = _read_all(str(tmp_path))
    assert {name: run for name, run in runs.items() if run.grown_mib >= MAX_GROWTH_MIB} == {}
    for name, run in runs.items():
        count, problem = run.outcome
        if name in READ:
            assert (count, problem) == (READ[name], ""), name
        else:
            assert problem.startswith("FluxRequestError: requests="), (name, problem)
            assert "save it as Excel Workbook (.xlsx), or as CSV UTF-8" in problem, (name, problem)


def _read_all(folder: str) -> dict[str, Measured]:
    open_path(folder)
    _read(str(next(Path(folder).glob("last row.xlsx"))))
    return {path.stem: run_measured(_read, str(path)) for path in Path(folder).glob("*.xlsx")}


def _read(path: str) -> tuple[int, str]:
    count, problem = 0, ""
    try:
        for row in read_raw_rows(path):
            count += 1
            if isinstance(row.values, UnreadableRow):
                problem = row.values.problem
    except FluxError as error:
        problem = f"{type(error).__name__}: {error}"
    return count, problem


@pytest.mark.parametrize("part", ["sheet1", "sharedStrings", "workbook", "styles"])
def test_a_document_type_is_refused_so_that_no_entity_exists(tmp_path: Path, part: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    doctype = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}"><!ENTITY b "{"x" * 1000}">]>'
    xml = {
        "sheet1": sheet_xml('<row r="2"><c t="str"><v>&e;</v></c></row>'),
        "sharedStrings": strings("<si><t>&e;&b;&b;</t></si>"),
        "workbook": PARTS["xl/workbook.xml"].replace("Sheet1", "&b;"),
        "styles": f'<styleSheet xmlns="{MAIN}">&e;</styleSheet>',
    }[part]
    others = {} if part == "sheet1" else {part: doctype + xml}
    sheet = doctype + xml if part == "sheet1" else sheet_xml(ROW)
    message = refusal_of(write_parts(tmp_path / "a.xlsx", sheet, **others))
    assert "has a document type in" in message
    assert "hunter2" not in message


def test_a_part_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    path = Path(write_parts(tmp_path / "a.xlsx", sheet_xml("<row/>" * 50_000)))
    content = bytearray(path.read_bytes())
    with ZipFile(path) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    place = content.rindex(size.to_bytes(4, "little"))
    content[place : place + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    assert "is damaged" in refusal_of(str(path))


def test_a_compression_that_excel_does_not_write_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_BZIP2) as archive:
        for name, xml in {**PARTS, "xl/worksheets/sheet1.xml": sheet_xml(ROW)}.items():
            archive.writestr(name, xml)
    (tmp_path / "a.xlsx").write_bytes(file.getvalue())
    assert "in a form that Excel does not write" in refusal_of(str(tmp_path / "a.xlsx"))


@pytest.mark.parametrize(
    ("sheet", "others", "reason"),
    [
        ("<worksheet", {}, "is no XML"),
        (sheet_xml('<row r="3"/><row r="2"/>'), {}, "has the row '2' after row 3"),
        (sheet_xml(ROW).replace(MAIN, "http://purl.oclc.org/ooxml/x"), {}, "Strict Open XML"),
        (sheet_xml(ROW), {"workbook": "<x/>"}, "has no sheet with cells"),
        (sheet_xml(ROW.replace("<c", '<c t="s"')), {}, "cannot be read"),
        (sheet_xml(ROW), {"rels": "x"}, "has no part"),
    ],
)
def test_a_broken_workbook_is_refused_and_never_fails_otherwise(
    tmp_path: Path, sheet: str, others: dict[str, str], reason: str
) -> None:
    if "rels" in others:
        path = tmp_path / "a.xlsx"
        with ZipFile(path, "w") as archive:
            for name in ("[Content_Types].xml", "xl/workbook.xml", "xl/sharedStrings.xml"):
                archive.writestr(name, PARTS[name])
        message = refusal_of(str(path))
    else:
        sheet = sheet.replace("<v>1</v>", "<v>99</v>") if 't="s"' in sheet else sheet
        message = refusal_of(write_parts(tmp_path / "a.xlsx", sheet, **others))
    assert reason in message
