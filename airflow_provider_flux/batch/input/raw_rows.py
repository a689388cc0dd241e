"""One row of a batch as it is given, before it is known what its values mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from airflow_provider_flux.batch.input.json_values import NotJsonError, as_plain
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact

#: What ``requests`` may be, for error messages.
TAKEN = (
    "a list of prompts or of dicts, the .output of a task that returns one, or the absolute path or URI "
    "(s3://my_conn@bucket/key) of a .jsonl, .csv or .parquet file"
)
#: Names of columns that an error message shows at most.
SHOWN_COLUMNS = 40
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that cannot be read.

    :param problem: why, in words.
    """

    problem: str


class Selected(dict[str, Any]):
    """What was read of a dict, whose names are not those of a header; ``others`` are its first names."""

    others: tuple[str, ...] = ()


#: One row as it was given: a prompt, or values by column, with ``None`` for what is not given.
Raw: TypeAlias = str | dict[str, Any] | Broken


def select(row: Any, columns: Collection[str] | None) -> Raw:
    """Return what is to be read of a row of a list, or of a line of JSONL."""
    try:
        if isinstance(row, str):
            return str(as_plain(row))
        if not isinstance(row, Mapping):
            return Broken(f"is {article(type(row).__name__)}, neither a prompt nor a dict")
        names = row.keys() if columns is None else [name for name in columns if name in row]
        selected = Selected({_name(name): plain_value(name, row[name]) for name in names})
    except NotJsonError as error:
        return Broken(str(error))
    if columns is not None and len(selected) < len(columns):
        selected.others = tuple(str(name) for name in list(row)[:SHOWN_COLUMNS])
    return selected


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise NotJsonError(f"has the name {str(name)[:_LONGEST_NAME]!r}, which is not text")
    return name


def plain_value(name: str, value: Any) -> Any:
    """Return a value as plain JSON.

    :raises NotJsonError: with the name of the value, if JSON has no such value.
    """
    try:
        return as_plain(value)
    except NotJsonError as error:
        shown = name if name.isidentifier() else repr(name)
        raise NotJsonError(f"{shown[:_LONGEST_NAME]} {error}") from None


def check_header(header: list[str], columns: Collection[str] | None, what: str) -> None:
    """Check the names of all columns.

    :raises FluxRequestError: if one is there twice, or one that is to be read is not there.
    """
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise FluxRequestError(f"{what} has the column {twice[0]!r} twice.")
    if missing := set(columns or ()) - set(header):
        raise lacking(missing, header)


def lacking(missing: Collection[str], there: Iterable[str]) -> FluxRequestError:
    """Return the error about columns that are to be read and are not there."""
    names = [redact(repr(name[:_LONGEST_NAME])) for name in there]
    shown = ", ".join(names[:SHOWN_COLUMNS]) + (", ..." if len(names) > SHOWN_COLUMNS else "")
    lacking = ", ".join(map(repr, sorted(missing)))
    return FluxRequestError(
        f"requests has no column {lacking}, which columns names. It has: {shown or 'none'}"
    )


def article(name: str) -> str:
    """Return a noun with "a" or "an" before it."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
