"""The parts of a workbook that hold rows, read by openpyxl after their limits are checked.

``openpyxl.load_workbook`` reads all parts of a workbook, also those that no row needs. This module
reads four of them, by names of openpyxl that are not public. ``test_excel_workbook.py`` pins them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zipfile import ZipFile

from openpyxl.packaging.relationship import get_rels_path  # type: ignore[import-untyped]
from openpyxl.reader.excel import (  # type: ignore[import-untyped]
    ARC_CONTENT_TYPES,
    SHARED_STRINGS,
    ExcelReader,
    _find_workbook_part,
)
from openpyxl.styles.numbers import (  # type: ignore[import-untyped]
    BUILTIN_FORMATS,
    BUILTIN_FORMATS_MAX_SIZE,
    is_datetime,
)
from openpyxl.styles.stylesheet import (  # type: ignore[import-untyped]
    ARC_STYLE,
    apply_stylesheet,
)
from openpyxl.worksheet._reader import WorkSheetParser  # type: ignore[import-untyped]

from airflow_provider_flux.batch.input.excel_limits import SheetFacts, WorkbookError, scan_part

#: Cells of a row by column, from 0. Empty cells are missing.
Cells = dict[int, Any]


class Workbook:
    """A workbook whose sheets can be read.

    :param file: open binary file, which can seek.
    :raises WorkbookError: if it is no workbook, or breaks a limit.
    :ivar sheets: part of each sheet by its title, visible ones first.
    """

    def __init__(self, file: Any) -> None:
        with warnings.catch_warnings():  # of openpyxl, about parts that are not read
            warnings.simplefilter("ignore")
            self._reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
            self._read_parts()
        self._date_styles = self._find_date_styles()
        found = list(self._reader.parser.find_sheets())
        found.sort(key=lambda pair: pair[0].state != "visible")
        self.sheets: dict[str, str] = {
            sheet.name: part.target for sheet, part in found if "worksheet" in part.Type
        }

    def close(self) -> None:
        """Close the zip file."""
        self._archive.close()

    def scan(self, title: str) -> SheetFacts:
        """Check the limits of a sheet, and return facts about it.

        :param title: its title.
        :raises WorkbookError: if it breaks a limit.
        """
        return scan_part(self._archive, self.sheets[title], "sheet")

    def rows(self, title: str, last_row: int) -> Iterator[tuple[int, Cells]]:
        """Yield number and cells of each row of a sheet that was scanned.

        :param title: its title.
        :param last_row: number of the last row. What follows it is not read.
        """
        workbook = self._reader.wb
        with self._archive.open(self.sheets[title]) as part:
            parser = WorkSheetParser(
                part,
                self._reader.shared_strings,
                data_only=True,
                epoch=workbook.epoch,
                date_formats=workbook._date_formats,
                timedelta_formats=workbook._timedelta_formats,
            )
            rows = parser.parse()
            number = 0
            while number < last_row:
                number, cells = next(rows)
                parser.row_dimensions.clear()
                yield number, {cell["column"] - 1: self._value_of(cell) for cell in cells}

    @property
    def _archive(self) -> ZipFile:
        return self._reader.archive  # type: ignore[no-any-return]

    def _read_parts(self) -> None:
        reader, archive = self._reader, self._archive
        if ARC_CONTENT_TYPES not in archive.namelist():
            raise WorkbookError("is a zip file, and no Excel workbook (.xlsx)")
        scan_part(archive, ARC_CONTENT_TYPES, "tree")
        reader.read_manifest()
        if strings := reader.package.find(SHARED_STRINGS):
            scan_part(archive, strings.PartName[1:], "strings")
            reader.read_strings()
        name = _find_workbook_part(reader.package).PartName[1:]
        scan_part(archive, name, "tree")
        scan_part(archive, get_rels_path(name), "tree")
        reader.read_workbook()
        if ARC_STYLE in archive.namelist():
            scan_part(archive, ARC_STYLE, "tree")
            apply_stylesheet(archive, reader.wb)

    def _find_date_styles(self) -> frozenset[int]:
        """Return the styles that show a date without a time."""
        workbook = self._reader.wb
        found = set()
        for number in workbook._date_formats:
            format_id = workbook._cell_styles[number].numFmtId
            is_builtin = format_id < BUILTIN_FORMATS_MAX_SIZE
            text = (
                BUILTIN_FORMATS.get(format_id)
                if is_builtin
                else workbook._number_formats[format_id - BUILTIN_FORMATS_MAX_SIZE]
            )
            if is_datetime(text) == "date":
                found.add(number)
        return frozenset(found)

    def _value_of(self, cell: dict[str, Any]) -> Any:
        """Return the value of a cell as it is shown.

        Excel stores a date as a number of days, so openpyxl gives each a time.
        """
        value = cell["value"]
        if isinstance(value, str):
            # Excel writes a carriage return so.
            return value.replace("_x000D_\n", "\n").replace("_x000D_", "\n")
        if isinstance(value, datetime) and cell["style_id"] in self._date_styles:
            return value.date()
        return value
