"""Limits for the memory and the time that an Excel workbook takes, checked before it is read.

A workbook is a zip file of XML. A few kilobytes of it can expand to gigabytes, to a row of millions
of cells, or to a billion empty rows, and openpyxl has no limits of its own. So each part is scanned
as a stream before openpyxl reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from airflow_provider_flux.bfl.catalog.model import MIB

#: How openpyxl reads a part: ``sheet`` row by row, ``strings`` into a list, ``tree`` as a whole.
PartKind: TypeAlias = Literal["sheet", "strings", "tree"]

#: Expanded bytes of a part, or 20 times its compressed size if that is more.
MAX_BYTES: dict[PartKind, int] = {"sheet": 256 * MIB, "strings": 24 * MIB, "tree": 8 * MIB}
_MAX_EXPANSION = 20
#: XML elements of a part; in a sheet, those before its rows. Of texts, one for each two bytes of
#: the compressed part if that is more.
MAX_ELEMENTS: dict[PartKind, int] = {"sheet": 20_000, "strings": 300_000, "tree": 100_000}
_BYTES_PER_STRING = 2
#: Rows and columns of a sheet of Excel.
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
#: XML elements and bytes of a row. Each cell has a value, and may have a formula.
MAX_ROW_ELEMENTS = 4 * MAX_COLUMNS
MAX_ROW_BYTES = 8 * MIB
_READ_BYTES = 256 * 1024
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main "
_STRICT = "http://purl.oclc.org/ooxml/"
_ROW, _CELL, _FORMULA = f"{_MAIN}row", f"{_MAIN}c", f"{_MAIN}f"
_VALUES = (f"{_MAIN}v", f"{_MAIN}is")
_PLACE = re.compile(r"([A-Za-z]{1,3})[0-9]{1,7}")


class WorkbookError(Exception):
    """A workbook that is not read. The text is the rest of a sentence about it."""


@dataclass
class SheetFacts:
    """Facts about a sheet, known after the scan.

    :ivar last_row: number of its last row; 0 if it has none.
    :ivar uncalculated: number of formulas without a value.
    :ivar first_uncalculated: name of the first cell of them, for example ``C5``.
    """

    last_row: int = 0
    uncalculated: int = 0
    first_uncalculated: str = ""


def scan_part(archive: ZipFile, name: str, kind: PartKind) -> SheetFacts:
    """Refuse a part that would take too much memory or time.

    :param archive: the open zip file.
    :param name: name of the part.
    :param kind: how openpyxl will read it.
    :return: facts about a sheet; without meaning for other parts.
    :raises WorkbookError: if the part is missing, or breaks a limit.
    """
    shown = repr(name[:60])
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise WorkbookError(f"has no part {shown}") from None
    if entry.flag_bits & 1 or entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise WorkbookError(f"has the part {shown} in a form that Excel does not write")
    if entry.file_size > max(MAX_BYTES[kind], _MAX_EXPANSION * entry.compress_size):
        raise WorkbookError(
            f"expands {shown} from {entry.compress_size} to {entry.file_size} bytes"
        )
    elements = MAX_ELEMENTS[kind]
    if kind == "strings":
        elements = max(elements, entry.compress_size // _BYTES_PER_STRING)
    scanner = _Scanner(shown, kind, elements)
    try:
        with archive.open(entry) as part:
            scanner.scan(part)
    except expat.ExpatError as error:
        raise WorkbookError(f"is damaged: {shown} is no XML ({error})") from None
    return scanner.facts


class _Scanner:
    """Counts what openpyxl would keep in memory of a part.

    :param shown: name of the part, for errors.
    :param kind: how openpyxl will read it.
    :param max_elements: XML elements outside of rows.
    """

    def __init__(self, shown: str, kind: PartKind, max_elements: int) -> None:
        self.facts = SheetFacts()
        self._shown = shown
        self._is_sheet = kind == "sheet"
        self._max_elements = max_elements
        self._elements = self._row_elements = self._depth = 0
        self._row_depth = self._row_begin = 0
        self._cell = ""
        self._has_formula = self._has_value = self._has_type = False
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def scan(self, part: IO[bytes]) -> None:
        """Read the part to its end.

        :param part: the open part.
        :raises WorkbookError: if a limit is broken.
        """
        fed = 0
        while data := part.read(_READ_BYTES):
            self._parser.Parse(data, False)
            fed += len(data)
            begin = self._row_begin if self._row_depth else self._parser.CurrentByteIndex
            if fed - begin > MAX_ROW_BYTES:
                raise WorkbookError(
                    f"has a row or a text of more than {MAX_ROW_BYTES // MIB} MiB in {self._shown}"
                )
        self._parser.Parse(b"", True)

    def _refuse_doctype(self, *_: Any) -> None:
        raise WorkbookError(f"has a document type in {self._shown}, which may name entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name.startswith(_STRICT):
            raise WorkbookError("is a Strict Open XML file")
        if self._row_depth:
            self._start_in_row(name, attributes)
        elif self._is_sheet and name == _ROW:
            self._start_row(attributes)
        elif not self.facts.last_row:  # what follows the rows of a sheet is not read
            self._elements += 1
            if self._elements > self._max_elements:
                raise WorkbookError(f"has more than {self._max_elements} elements in {self._shown}")

    def _end(self, name: str) -> None:
        if self._row_depth == self._depth:
            self._row_depth = 0
        elif name == _CELL and self._row_depth and self._has_formula and not self._has_value:
            self.facts.uncalculated += 1
            self.facts.first_uncalculated = self.facts.first_uncalculated or self._cell
        self._parser.CharacterDataHandler = None
        self._depth -= 1

    def _read_text(self, _: str) -> None:
        self._has_value = True

    def _start_row(self, attributes: dict[str, str]) -> None:
        self._row_depth, self._row_elements = self._depth, 0
        self._row_begin = self._parser.CurrentByteIndex
        last = self.facts.last_row
        text = attributes.get("r", str(last + 1))
        row = int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0
        if not last < row <= MAX_ROWS:
            raise WorkbookError(
                f"has the row {text[:20]!r} after row {last}. A sheet has up to {MAX_ROWS} rows, "
                "in ascending order"
            )
        self.facts.last_row = row

    def _start_in_row(self, name: str, attributes: dict[str, str]) -> None:
        self._row_elements += 1
        if self._row_elements > MAX_ROW_ELEMENTS:
            raise WorkbookError(f"has more than {MAX_ROW_ELEMENTS} elements in one row")
        if name == _CELL:
            self._cell, self._has_formula, self._has_value = attributes.get("r", ""), False, False
            place = _PLACE.fullmatch(self._cell[:20])
            if self._cell and (place is None or _column_number(place[1]) > MAX_COLUMNS):
                raise WorkbookError(f"has the cell {self._cell[:20]!r}, which no sheet has")
            self._has_type = "t" in attributes
        elif name == _FORMULA:
            self._has_formula = True
        elif name in _VALUES and self._has_type:
            self._has_value = True  # also an empty text
        elif name in _VALUES:
            self._parser.CharacterDataHandler = self._read_text


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number
