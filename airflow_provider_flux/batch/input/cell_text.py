"""The text of a cell where a template names its column: in ``prompt`` and in ``output_path``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from airflow_provider_flux.batch.input.raw_rows import with_article
from airflow_provider_flux.bfl.errors import FluxRequestError

#: Digits of the largest number that becomes text.
_MAX_DIGITS = 1024
_MAX_NAME_CHARACTERS = 60


def format_cell(value: Any) -> str:
    """Return the text of a value, without any format of a programming language.

    A whole number has no decimal point, and no number has an exponent. A ``Decimal`` that is not
    whole keeps its digits. Truth values are ``true`` and ``false``.

    :param value: plain JSON, or a ``Decimal``.
    :return: the text; empty for ``None``.
    :raises ValueError: if the value has no plain text. The message continues a sentence about it.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, Decimal)):
        return _format_number(value)
    raise ValueError(f"is {with_article(type(value).__name__)}, not text or a number")


def format_value(value: Any) -> str:
    """Return the text of a value; that of a list or dict is its JSON, with sorted names.

    :param value: plain JSON, or a ``Decimal``.
    :raises ValueError: if it is a number that is too long. The message continues a sentence.
    """
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return format_cell(value)


def read_cells(names: Iterable[str], values: Mapping[Any, Any], argument: str) -> dict[str, str]:
    """Return the texts of the columns that an argument names.

    :param names: names of columns.
    :param values: values of the row by column.
    :param argument: the argument, for the error.
    :raises FluxRequestError: if the row has no text for one of them. The message names all.
    """
    cells: dict[str, str] = {}
    problems = []
    for name in names:
        shown = repr(name[:_MAX_NAME_CHARACTERS])
        try:
            cells[name] = format_cell(values.get(name))
        except ValueError as error:
            problems.append(f"column {shown} {error}, and {argument} names it")
            continue
        if not cells[name].strip():
            problems.append(f"column {shown} is empty, and {argument} names it")
    if problems:
        raise FluxRequestError("; ".join(problems))
    return cells


def _format_number(value: float | Decimal) -> str:
    if isinstance(value, float):
        if value.is_integer():
            return str(int(value))
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("is not a finite number")
        if abs(value.adjusted()) > _MAX_DIGITS:
            raise ValueError("is a number with too many digits")
        return str(int(value)) if value == value.to_integral_value() else f"{value:f}"
    if abs(value) >= 10**_MAX_DIGITS:
        raise ValueError("is a number with too many digits")
    return str(value)
