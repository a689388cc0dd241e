"""Reader of CSV files as spreadsheets, databases and data frames write them."""

from __future__ import annotations

import codecs
import csv
import logging
import unicodedata
from collections.abc import Collection, Generator, Iterator
from itertools import chain
from typing import IO, Any

from airflow_provider_flux.batch.input.file_formats import (
    MAX_LINE_BYTES,
    has_too_many_values,
    max_line_bytes,
    read_lines,
)
from airflow_provider_flux.batch.input.mapping import SPECIAL_NAMES
from airflow_provider_flux.batch.input.raw_rows import (
    Column,
    RawRow,
    RawValues,
    UnreadableRow,
    check_header,
)
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.configured_models import known_models

log = logging.getLogger(__name__)

#: Characters that separate cells, in the order of their frequency.
_DELIMITERS = (",", ";", "\t", "|")
#: First line by which Excel names the delimiter of a file.
_EXCEL_DELIMITER_LINE = "sep="
_MAX_SHOWN_CHARACTERS = 60
#: Characters around a name that do not belong to it: white space, and the BOM of a joined file.
_JOINED = " \t\r\n\ufeff"


def read_csv(file: IO[bytes], columns: Collection[Column] | None, source: str) -> Generator[RawRow]:
    """Read a CSV file with a header. An empty cell is no value.

    The cells are separated by a comma, semicolon, tab or bar, whichever gives the header the most
    of the expected names. Lines without a value, lines that repeat the header, and columns without
    a name are skipped.

    :param file: open binary file.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if the file is not CSV in UTF-8, or its header is not valid.
    """
    # The limit belongs to the process, and its default is too low for a cell with an image.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    row_size = _RowSize(max_line_bytes(file), source)
    lines = _decode_lines(file, source, row_size)
    skipped, first_line = _skip_to_header(lines)
    if not first_line:
        return
    delimiter, is_named = _choose_delimiter(first_line, columns)
    if is_named:
        first_line, skipped = "", skipped + 1
    reader = csv.reader(chain(filter(None, [first_line]), lines), strict=True, delimiter=delimiter)
    try:
        for row in _read_table(reader, skipped, columns, source):
            row_size.reset()
            yield row
    except csv.Error as error:
        raise FluxRequestError(
            f"{source}: line {skipped + reader.line_num} is not CSV ({error}). A cell with quotes, "
            'delimiters or line ends needs quotes around it, and each quote in it twice (""). '
            "Spark writes so with option('escape', '\"')."
        ) from None


def _skip_to_header(lines: Iterator[str]) -> tuple[int, str]:
    """Return the number of lines without a value at the beginning, and the line that follows."""
    no_value = "".join([*_DELIMITERS, " \r\n"])
    for number, line in enumerate(lines):
        if line.strip(no_value):
            return number, line
    return 0, ""


def _choose_delimiter(line: str, columns: Collection[Column] | None) -> tuple[str, bool]:
    """Return the delimiter of a file, and whether the line names it and is no header.

    :param line: first line that has a value.
    :param columns: names to read, ``None`` for all.
    """
    text = line.strip("\r\n")
    if text[: len(_EXCEL_DELIMITER_LINE)].lower() == _EXCEL_DELIMITER_LINE:
        named = text[len(_EXCEL_DELIMITER_LINE) :]
        if named[:1] in _DELIMITERS and not named[1:].strip("".join(_DELIMITERS)):
            return named[0], True

    expected = set(columns) if columns is not None else _parameter_names()

    def score(delimiter: str) -> tuple[int, int]:
        cells = _split_header(line, delimiter)
        return len(expected.intersection(cells)), len(cells)

    delimiter = max(_DELIMITERS, key=score)  # the first of those that are equal
    if delimiter != _DELIMITERS[0]:
        log.info("The cells of the CSV file are separated by %r", delimiter)
    return delimiter, False


def _parameter_names() -> set[Column]:
    parameters = {name for model in known_models().values() for name in model.fields}
    return {*SPECIAL_NAMES, *parameters}


def _split_header(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _read_table(
    reader: Any, skipped: int, columns: Collection[Column] | None, source: str
) -> Generator[RawRow]:
    """Read the header and the rows.

    :param reader: reader of the standard library, before the header.
    :param skipped: lines of the file before the first one of the reader.
    """
    header = next((cells for cells in reader if any(map(str.strip, cells))), None)
    if header is None:
        return
    names = _match_names([name.strip() for name in header], columns)
    check_header(names, columns, source)
    if unnamed := [position for position, name in enumerate(names) if not name]:
        log.info("Columns without a name are not read: %s", [n + 1 for n in unnamed])
    table = _Table(names, columns)

    blank = repeated = 0
    previous_line = reader.line_num
    for cells in reader:
        line, previous_line = previous_line + 1, reader.line_num
        if not any(map(str.strip, cells)):
            blank += bool(cells)
        elif _is_header(cells, header):
            repeated += 1
        else:
            yield RawRow(skipped + line, table.read(cells))
    if blank:
        log.info("Lines of the CSV file with empty cells only, which are skipped: %d", blank)
    if repeated:
        log.warning("Lines of the CSV file that repeat the header, which are skipped: %d", repeated)


def _match_names(names: list[str], columns: Collection[Column] | None) -> list[str]:
    """Return the names of a header, written as in ``columns`` if they differ in their normal form.

    :param names: names of all columns.
    :param columns: names to read, ``None`` for all.
    """
    expected = {unicodedata.normalize("NFC", name): name for name in map(str, columns or ())}
    return [expected.get(unicodedata.normalize("NFC", name), name) for name in names]


def _is_header(cells: list[str], header: list[str]) -> bool:
    """Whether a row repeats the header, as in a file that was joined from several."""
    return cells == header or [cell.strip(_JOINED) for cell in cells] == [
        name.strip(_JOINED) for name in header
    ]


class _Table:
    """Columns of a CSV file.

    :param names: names of all columns. Columns without a name have empty text.
    :param columns: names to read, ``None`` for all.
    """

    def __init__(self, names: list[str], columns: Collection[Column] | None) -> None:
        self._width = len(names)
        self._named_width = 1 + max(position for position, name in enumerate(names) if name)
        self._selected = [
            (position, name)
            for position, name in enumerate(names)
            if name and (columns is None or name in columns)
        ]
        # The first column without a name holds the index of a data frame. In a later one, a value
        # is a part of a cell with a delimiter in it.
        self._unnamed = [position for position, name in enumerate(names) if position and not name]

    def read(self, cells: list[str]) -> RawValues:
        """Return the values of a row, or the reason why it cannot be read.

        :param cells: all cells of the row. Some have a value.
        """
        while len(cells) > self._width and not cells[-1].strip():
            cells.pop()
        count = len(cells)
        if count > self._width or count < self._named_width:
            return UnreadableRow(
                f"has {count} {'cell' if count == 1 else 'cells'}, but the header has "
                f"{self._width}. Write quotes around cells with delimiters or line ends"
            )
        for position in self._unnamed:
            if position < count and cells[position].strip():
                shown = repr(cells[position][:_MAX_SHOWN_CHARACTERS])
                return UnreadableRow(
                    f"has {shown} in column {position + 1}, which has no name. Write quotes around "
                    "cells with delimiters"
                )
        return {name: cells[position] or None for position, name in self._selected}


class _RowSize:
    """Size of the row that is read now, whose cells may have many lines.

    :param limit: largest size in bytes.
    :param source: the argument and its value, for errors.
    """

    def __init__(self, limit: int, source: str) -> None:
        self._limit = limit
        self._source = source
        self._size = 0

    def reset(self) -> None:
        """Begin a row."""
        self._size = 0

    def add(self, number: int, line: bytes) -> None:
        """Add a line to the row.

        :param number: number of the line, from 1.
        :param line: the line.
        :raises FluxRequestError: if the row is too large.
        """
        self._size += len(line)
        is_too_wide = has_too_many_values(line, "".join(_DELIMITERS).encode())
        if self._size > self._limit or is_too_wide:
            raise FluxRequestError(
                f"{self._source}: the row that has line {number} is too large. Is a quote of an "
                "earlier line not closed?"
            )


def _decode_lines(file: IO[bytes], source: str, row_size: _RowSize) -> Iterator[str]:
    for number, line in read_lines(file, source):
        row_size.add(number, line)
        if number == 1 and (line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))):
            raise FluxRequestError(f"{source} is UTF-16. Save it as UTF-8 (in Excel: CSV UTF-8).")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise FluxRequestError(
                f"{source}: line {number} is not UTF-8. Save the file as UTF-8 (in Excel: CSV "
                "UTF-8)."
            ) from None
