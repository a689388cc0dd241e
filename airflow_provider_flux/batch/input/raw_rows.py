"""One row of the input as it was read, before its columns are mapped to parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact

#: Columns that an error message lists.
MAX_LISTED_COLUMNS = 40
_MAX_NAME_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that cannot be read.

    :param problem: reason, as the rest of a sentence about the row.
    """

    problem: str


class SelectedValues(dict[str, Any]):
    """Values read from a dict, which has no header that promises all columns.

    :ivar available: first names of that dict, if it lacks a requested column.
    """

    available: tuple[str, ...] = ()


#: A prompt, or values by column. A column without a value has ``None``.
RawValues: TypeAlias = str | dict[str, Any] | UnreadableRow


class RawRow(NamedTuple):
    """A row with its location.

    :param line: line of the file where the row begins, from 1. ``None`` for a list and for Parquet.
    :param values: prompt, or values by column.
    """

    line: int | None
    values: RawValues


def select_values(row: Any, columns: Collection[str] | None) -> RawValues:
    """Read a row of a list, or of a JSONL line.

    :param row: a prompt or a mapping.
    :param columns: names to read, ``None`` for all.
    :return: plain JSON values, or the reason why the row cannot be read.
    """
    try:
        if isinstance(row, str):
            return str(to_json_value(row))
        if not isinstance(row, Mapping):
            return UnreadableRow(
                f"is {with_article(type(row).__name__)}, neither a prompt nor a dict"
            )
        names = row.keys() if columns is None else [name for name in columns if name in row]
        selected = SelectedValues(
            {_check_name(name): to_column_value(name, row[name]) for name in names}
        )
    except NotJsonError as error:
        return UnreadableRow(str(error))
    if columns is not None and len(selected) < len(columns):
        selected.available = tuple(str(name) for name in list(row)[:MAX_LISTED_COLUMNS])
    return selected


def _check_name(name: Any) -> str:
    if not isinstance(name, str):
        shown = repr(str(name)[:_MAX_NAME_CHARACTERS])
        raise NotJsonError(f"has the column name {shown}, which is not text")
    return name


def to_column_value(name: str, value: Any) -> Any:
    """Convert the value of a column to plain JSON.

    :param name: name of the column, for errors.
    :param value: value of any type.
    :raises NotJsonError: if JSON cannot represent the value. The message begins with the name.
    """
    try:
        return to_json_value(value)
    except NotJsonError as error:
        shown = name if name.isidentifier() else repr(name)
        raise NotJsonError(f"{shown[:_MAX_NAME_CHARACTERS]} {error}") from None


def check_header(header: list[str], columns: Collection[str] | None, source: str) -> None:
    """Check the column names of a file.

    :param header: all names, in order.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if a name occurs twice, or a requested column is missing.
    """
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise FluxRequestError(f"{source} has the column {repeated[0]!r} twice.")
    if missing := set(columns or ()) - set(header):
        raise missing_columns_error(missing, header)


def missing_columns_error(missing: Collection[str], available: Iterable[str]) -> FluxRequestError:
    """Build the error for requested columns that the input does not have.

    :param missing: the names that are missing.
    :param available: the names that the input has.
    """
    names = [redact(repr(name[:_MAX_NAME_CHARACTERS])) for name in available]
    listed = ", ".join(names[:MAX_LISTED_COLUMNS])
    listed += ", ..." if len(names) > MAX_LISTED_COLUMNS else ""
    return FluxRequestError(
        f"requests has no column {', '.join(map(repr, sorted(missing)))}, which columns names. "
        f"It has: {listed or 'none'}"
    )


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun.

    :param noun: the noun.
    """
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
