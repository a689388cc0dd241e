"""Excel workbooks: written by openpyxl, and by hand for what no program writes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml."
#: The smallest parts of a workbook with one sheet.
PARTS: Mapping[str, str] = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}sheet.main+xml"/>'
        f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_TYPES}sharedStrings+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPES}worksheet+xml"/>'
        "</Types>"
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{MAIN}" xmlns:r="{_RELS}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE_RELS}"><Relationship Id="rId1" '
        f'Type="{_RELS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
    "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}"><si><t>key</t></si><si><t>prompt</t></si></sst>',
}
HEADER = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'


def as_xlsx(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows with the same names as a workbook with one sheet."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return make_workbook({"Rows": [names, *([row.get(name) for name in names] for row in rows)]})


def make_workbook(sheets: Mapping[str, Sequence[Sequence[Any]]], hidden: str = "") -> bytes:
    """Return a workbook with the cells of each sheet, as openpyxl writes it."""
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for title, rows in sheets.items():
        sheet = workbook.create_sheet(title)
        sheet.sheet_state = "hidden" if title == hidden else "visible"
        for row in rows:
            sheet.append(list(row))
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def sheet_xml(rows: str, before: str = "") -> str:
    """Return a sheet of rows that are XML, after a header with ``key`` and ``prompt``."""
    data = f"<sheetData>{HEADER}{rows}</sheetData>"
    return f'<worksheet xmlns="{MAIN}">{before}{data}</worksheet>'


def write_parts(path: Path, sheet: str, **others: str) -> str:
    """Write a workbook by hand, and return its path.

    :param sheet: the XML of its sheet.
    :param others: XML of other parts, by the last name of the part without its suffix.
    """
    parts = {**PARTS, "xl/worksheets/sheet1.xml": sheet}
    by_name = {name.rpartition("/")[2].removesuffix(".xml"): name for name in parts}
    parts |= {by_name.get(name, f"xl/{name}.xml"): xml for name, xml in others.items()}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, xml in parts.items():
            archive.writestr(name, xml)
    return str(path)
