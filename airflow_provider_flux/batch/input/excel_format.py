"""Reader of Excel workbooks (.xlsx), one row at a time."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from airflow_provider_flux.batch.input.excel_limits import WorkbookError
from airflow_provider_flux.batch.input.json_values import NotJsonError
from airflow_provider_flux.batch.input.raw_rows import (
    MAX_LISTED_COLUMNS,
    Column,
    RawRow,
    RawValues,
    UnreadableRow,
    check_header,
    to_column_value,
)
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxError, FluxRequestError
from airflow_provider_flux.bfl.redaction import redact

if TYPE_CHECKING:
    from airflow_provider_flux.batch.input.excel_workbook import Cells, Workbook

log = logging.getLogger(__name__)

#: A path with the name of a sheet after it.
_WITH_SHEET = re.compile(r"(.*\.xlsx)#(.+)", re.IGNORECASE | re.DOTALL)
_SAVE_AGAIN = "Open it in Excel and save it as Excel Workbook (.xlsx), or as CSV UTF-8."
_MAX_SHOWN_CHARACTERS = 60


def split_sheet(text: str) -> tuple[str, str]:
    """Split the path of a workbook from the name of a sheet.

    :param text: a path or URI, for example ``s3://bucket/products.xlsx#Prices``.
    :return: the path, and the name; empty text without one.
    """
    match = _WITH_SHEET.fullmatch(text)
    return (match[1], match[2]) if match else (text, "")


def read_excel(
    file: Any, columns: Collection[Column] | None, source: str, sheet: str = ""
) -> Generator[RawRow]:
    """Read a sheet, whose first row with a value is the header.

    A formula has the value that the program which saved the file calculated. Rows without a value,
    and columns without a name, are skipped. Hidden rows and columns count.

    :param file: open binary file, which can seek.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :param sheet: name of the sheet. Default: the first one that is not hidden.
    :raises FluxRequestError: if the file is no such workbook, expands too much, or its header is
        not valid.
    :raises FluxConfigurationError: if openpyxl is not installed.
    """
    try:
        from airflow_provider_flux.batch.input.excel_workbook import Workbook
    except ImportError:
        raise FluxConfigurationError(
            f"{source} needs openpyxl. Run pip install 'airflow-provider-flux[excel]'."
        ) from None
    try:
        with closing(Workbook(file)) as workbook:
            title = _choose_sheet(workbook, sheet, source)
            yield from _read_sheet(workbook, title, columns, source)
    except (FluxError, OSError):
        raise
    except WorkbookError as problem:
        raise FluxRequestError(f"{source} {problem}. {_SAVE_AGAIN}") from None
    except BadZipFile:
        raise FluxRequestError(
            f"{source} is no Excel workbook (.xlsx), is damaged or has a password. {_SAVE_AGAIN}"
        ) from None
    except Exception as error:
        reason = redact(f"{type(error).__name__}: {error}")[:200]
        raise FluxRequestError(f"{source} cannot be read ({reason}). {_SAVE_AGAIN}") from None


def _choose_sheet(workbook: Workbook, name: str, source: str) -> str:
    titles = list(workbook.sheets)
    if not titles:
        raise WorkbookError("has no sheet with cells")
    if name and name not in titles:
        shown = [redact(repr(title[:_MAX_SHOWN_CHARACTERS])) for title in titles]
        listed = ", ".join(shown[:MAX_LISTED_COLUMNS])
        raise FluxRequestError(f"{source} has no sheet of this name. It has: {listed}.")
    return name or titles[0]


def _read_sheet(
    workbook: Workbook, title: str, columns: Collection[Column] | None, source: str
) -> Iterator[RawRow]:
    facts = workbook.scan(title)
    if facts.uncalculated:
        log.warning(
            "%s: %d formulas have no value, so their cells are empty. The first is %s. Open the "
            "file in Excel and save it, so that Excel calculates them.",
            source,
            facts.uncalculated,
            facts.first_uncalculated,
        )
    rows = workbook.rows(title, facts.last_row)
    header = next((cells for _, cells in rows if any(map(_is_set, cells.values()))), None)
    if header is None:
        return
    names = {position: _name_of(value) for position, value in sorted(header.items())}
    check_header(list(names.values()), columns, source)
    named = {position: name for position, name in names.items() if name}
    selected = {
        position: name for position, name in named.items() if columns is None or name in columns
    }
    for number, cells in rows:
        if any(_is_set(cells.get(position)) for position in named):
            yield RawRow(number, _read_row(cells, selected))


def _name_of(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _is_set(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def _read_row(cells: Cells, selected: dict[int, str]) -> RawValues:
    try:
        return {
            name: to_column_value(name, cells.get(position) if cells.get(position) != "" else None)
            for position, name in selected.items()
        }
    except NotJsonError as error:
        return UnreadableRow(str(error))
