"""The report as CSV, which a spreadsheet opens without running anything."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from airflow_provider_flux.bfl.redaction import escape_control

#: The begin of a cell for a spreadsheet that separates cells by another character than a comma.
_FURTHER_CELL = re.compile(r"([;,|]\s*)(?=\S)")
#: Characters with which a spreadsheet begins a formula. Some take their full-width forms, too.
_FORMULA = frozenset("=+-@")


def as_csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header, in RFC 4180.

    Names of DAGs, tasks and models are data of strangers. One that a spreadsheet would take for a
    formula gets an apostrophe before it, and control characters are shown as their escapes.

    :param names: the columns.
    :param rows: dicts with these columns.
    """
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([[_as_cell(row[name]) for name in names] for row in rows])
    return stream.getvalue()


def _as_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = " ".join(escape_control(value).splitlines())
    return "".join(f"'{part}" if _is_formula(part) else part for part in _FURTHER_CELL.split(text))


def _is_formula(text: str) -> bool:
    return unicodedata.normalize("NFKC", text.lstrip())[:1] in _FORMULA
