"""One row of the input as it was read, before its columns are mapped to parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact

#: Columns that an error message lists.
MAX_LISTED_COLUMNS = 40
_MAX_NAME_CHARACTERS = 120
#: Digits of a decimal number that is written out.
_MAX_DIGITS = 1024


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that cannot be read.

    :param problem: reason, as the rest of a sentence about the row.
    """

    problem: str


class SelectedValues(dict[Any, Any]):
    """Values read from a dict, which has no header that promises all columns.

    :ivar available: first names of that dict, if it lacks a requested column.
    """

    available: tuple[str, ...] = ()


#: Name of a column, or its position in rows that are lists, from 0.
Column: TypeAlias = str | int
#: A prompt, or values by column. A column without a value has ``None``. A value is plain JSON, or a
#: ``Decimal``, which keeps the digits that a key needs.
RawValues: TypeAlias = str | dict[Any, Any] | UnreadableRow


class RawRow(NamedTuple):
    """A row with its location.

    :param line: line of the file where the row begins, from 1. ``None`` for a list and for Parquet.
    :param values: prompt, or values by column.
    """

    line: int | None
    values: RawValues


def select_values(
    row: Any, columns: Collection[Column] | None, names: Sequence[str] | None = None
) -> RawValues:
    """Read a row of a list, or of a JSONL line.

    :param row: a prompt, a mapping, a row of a database cursor, or a list with ``names``, or with
        positions in ``columns``.
    :param columns: names or positions to read, ``None`` for all.
    :param names: names of the values of a row that is a list or a tuple without names of its own,
        in order; ``None`` for none.
    :return: plain JSON values, or the reason why the row cannot be read.
    """
    try:
        return _select_values(row, columns, names)
    except NotJsonError as error:
        return UnreadableRow(str(error))
    except Exception as error:
        return UnreadableRow(describe_unexpected(error))


def as_data(values: str | dict[Any, Any]) -> dict[str, Any]:
    """Return the values of a row by column as plain JSON, for the manifest and for files of rows.

    :param values: values of a row that could be read. A prompt without a column is ``prompt``.
    """
    if isinstance(values, str):
        return {"prompt": values}
    return {str(name): _plain_number(value) for name, value in values.items()}


def _plain_number(value: Any) -> Any:
    """Return a ``Decimal`` with all its digits: they may be a key, of which 101.00 is the 101."""
    if not isinstance(value, Decimal):
        return value
    if abs(value.adjusted()) > _MAX_DIGITS:
        return str(value)
    return int(value) if value == value.to_integral_value() else f"{value:f}"


def describe_unexpected(error: Exception) -> str:
    """Describe an error that is no statement about the row, as the rest of a sentence about it.

    :param error: the error.
    """
    text = redact(str(error))[:_MAX_NAME_CHARACTERS]
    return f"cannot be read ({type(error).__name__}{': ' if text else ''}{text})"


def _select_values(
    row: Any, columns: Collection[Column] | None, names: Sequence[str] | None
) -> RawValues:
    if isinstance(row, str):
        return str(to_json_value(row))
    row = _with_positions(row) if _are_positions(columns) else _with_names(row)
    if isinstance(row, Sequence) and not isinstance(row, (bytes, bytearray, memoryview)):
        if names is None:
            return _select_positions(row, columns)
        if len(row) != len(names):
            return UnreadableRow(
                f"has {_count_values(row)}, and column_names has {len(names)} names"
            )
        row = dict(zip(names, row, strict=True))
    if not isinstance(row, Mapping):
        return UnreadableRow(f"is {with_article(type(row).__name__)}, neither a prompt nor a dict")
    chosen = row.keys() if columns is None else [name for name in columns if name in row]
    selected = SelectedValues(
        {_check_name(name): to_column_value(str(name), row[name]) for name in chosen}
    )
    if columns is not None and len(selected) < len(columns):
        selected.available = tuple(str(name) for name in list(row)[:MAX_LISTED_COLUMNS])
    return selected


def _with_names(row: Any) -> Any:
    """Return a row of a database cursor as a dict, if the row has the names of its columns."""
    if isinstance(row, Mapping):
        return row
    if isinstance(names := getattr(row, "_mapping", None), Mapping):  # of SQLAlchemy
        return dict(names)
    if isinstance(row, tuple) and hasattr(row, "_fields"):  # a named tuple
        return dict(zip(row._fields, row, strict=True))
    if hasattr(row, "keys") and hasattr(row, "__getitem__"):  # of sqlite3
        return {name: row[name] for name in row.keys()}  # noqa: SIM118 - it has no __iter__ of names
    return row


def _are_positions(columns: Collection[Column] | None) -> bool:
    return bool(columns) and all(isinstance(column, int) for column in columns or ())


def _with_positions(row: Any) -> Any:
    """Return a row of a database cursor as a tuple, also if it has the names of its columns."""
    is_row_with_names = hasattr(row, "keys") and hasattr(row, "__iter__")
    return tuple(row) if is_row_with_names and not isinstance(row, Mapping) else row


def _select_positions(row: Sequence[Any], columns: Collection[Column] | None) -> RawValues:
    """Read a row that is a list, as a cursor of a database returns it."""
    if columns is None or not _are_positions(columns):
        return UnreadableRow(
            f"is {with_article(type(row).__name__)}, neither a prompt nor a dict. For rows that "
            "are lists, set columns to positions from 0, for example {'key': 0, 'prompt': 1}, or "
            "column_names to the names of all values"
        )
    positions = [column for column in columns if isinstance(column, int)]
    if positions and max(positions) >= len(row):
        return UnreadableRow(
            f"has {_count_values(row)}, and none at position {max(positions)}, which columns names"
        )
    return {position: to_column_value(str(position), row[position]) for position in positions}


def _count_values(row: Sequence[Any]) -> str:
    return f"{len(row)} {'value' if len(row) == 1 else 'values'}"


def _check_name(name: Any) -> str:
    if not isinstance(name, str):
        shown = repr(str(name)[:_MAX_NAME_CHARACTERS])
        raise NotJsonError(f"has the column name {shown}, which is not text")
    return name


def to_column_value(name: str, value: Any) -> Any:
    """Convert the value of a column to plain JSON, except a finite ``Decimal``.

    :param name: name of the column, for errors.
    :param value: value of any type.
    :raises NotJsonError: if JSON cannot represent the value. The message begins with the name.
    """
    if isinstance(value, Decimal) and value.is_finite():
        return value  # a key needs all digits, and a parameter is converted later
    try:
        return to_json_value(value)
    except NotJsonError as error:
        shown = name if name.isidentifier() else repr(name)
        raise NotJsonError(f"{shown[:_MAX_NAME_CHARACTERS]} {error}") from None


def check_header(header: list[str], columns: Collection[Column] | None, source: str) -> None:
    """Check the column names of a file.

    :param header: all names, in order. A column without a name has empty text.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if a name to read occurs twice, or a requested column is missing.
    """
    positions = [column for column in columns or () if isinstance(column, int)]
    if positions:
        raise FluxRequestError(
            f"{source} has names of columns, and columns has the position {positions[0]}. Only "
            "rows that are lists have positions. Write the name of the column."
        )
    names = [name for name in header if name and (columns is None or name in columns)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise FluxRequestError(f"{source} has the column {repeated[0]!r} twice.")
    if missing := set(columns or ()) - set(header):
        subject = source.partition("=")[0]
        raise missing_columns_error(
            missing, filter(None, header), subject=subject, requested=columns
        )


def missing_columns_error(
    missing: Collection[Column],
    available: Iterable[str],
    unreadable: str = "",
    *,
    subject: str = "requests",
    requested: Collection[Column] | None = None,
) -> FluxRequestError:
    """Build the error for requested columns that the input does not have.

    :param missing: the names that are missing.
    :param available: the names that the input has.
    :param unreadable: a sentence about rows that could not be read; empty if all could.
    :param subject: the argument that the rows come from. Default ``requests``.
    :param requested: the requested columns; as a mapping, with the argument that names each.
        Default: ``columns`` names them.
    """
    names = [redact(repr(name[:_MAX_NAME_CHARACTERS])) for name in available]
    listed = ", ".join(names[:MAX_LISTED_COLUMNS])
    listed += ", ..." if len(names) > MAX_LISTED_COLUMNS else ""
    arguments = requested if isinstance(requested, Mapping) else {}
    named_by = sorted({arguments.get(name, "columns") for name in missing})
    verb = "names" if len(named_by) == 1 else "name"
    return FluxRequestError(
        f"{subject} has no column {', '.join(sorted(map(repr, missing)))}, which "
        f"{' and '.join(named_by)} {verb}. "
        f"It has: {listed or 'none'}{'. ' if unreadable else ''}{unreadable}"
    )


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun.

    :param noun: the noun.
    """
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
