"""Source of the rows of a batch: a list, JSON text, a file, or a query."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_flux.batch.input.files import ACCEPTED_SOURCES, read_input_file
from airflow_provider_flux.batch.input.raw_rows import (
    MAX_LISTED_COLUMNS,
    Column,
    RawRow,
    SelectedValues,
    UnreadableRow,
    missing_columns_error,
    select_values,
    with_article,
)
from airflow_provider_flux.batch.input.sql import SqlQuery, read_sql
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import is_path

log = logging.getLogger(__name__)


def read_raw_rows(
    source: Any,
    columns: Collection[Column] | None = None,
    column_names: Sequence[str] | None = None,
) -> Iterator[RawRow]:
    """Read the rows of a batch, one at a time. A file or a query is never in memory as a whole.

    :param source: prompts or dicts in any iterable, the same as JSON text, a query, or the path of
        a file: ``.jsonl`` or ``.ndjson``, ``.csv`` (UTF-8, with a header), each also with ``.gz``,
        ``.parquet`` or ``.xlsx``.
    :param columns: names to read, ``None`` for all. In rows that are lists: positions, from 0.
    :param column_names: names of the values of rows that are lists or tuples, in order.
    :return: the rows in the order of the input.
    :raises FluxRequestError: if the source is none of these, lacks a column, or is broken as a
        whole.
    :raises FluxInputError: if the file does not exist, or file or database cannot be read now. A
        retry may help.
    :raises FluxConfigurationError: if store or database cannot be used, or a package is missing.
    """
    if isinstance(source, SqlQuery):
        return _check_columns(read_sql(source, columns), columns, "sql")
    text = _as_text(check_source(source))
    if text is None or text.startswith("["):
        rows = source if text is None else _parse_json_list(text)
        raw_rows = (RawRow(None, select_values(row, columns, column_names)) for row in rows)
        return _check_columns(raw_rows, columns)
    return _check_columns(read_input_file(text, columns, column_names), columns)


def _check_columns(
    rows: Iterator[RawRow], columns: Collection[Column] | None, subject: str = "requests"
) -> Iterator[RawRow]:
    """Refuse an input in which no row has a requested column. If it has no rows, only warn.

    If no row can be read, each row has a reason of its own, and no column is missing.

    For a list and for JSONL this is known after the last row. That is early enough, because all
    rows are read before the first submit.
    """
    missing, available, count = set(columns or ()), dict[str, None](), 0
    unreadable, first_problem = 0, ""
    for index, row in enumerate(rows):
        count += 1
        if isinstance(row.values, UnreadableRow):
            location = f"index {index}" if row.line is None else f"line {row.line}"
            first_problem = first_problem or f"{location} {row.values.problem}"
            unreadable += 1
        elif missing and isinstance(row.values, SelectedValues):
            missing -= row.values.keys()
            if missing and len(available) <= MAX_LISTED_COLUMNS:
                available.update(dict.fromkeys(row.values.available))
        elif missing and isinstance(row.values, dict):
            missing.clear()  # of a file whose header was checked
        yield row

    if not count:
        log.warning("%s has no rows", subject)
    elif missing and unreadable < count:
        verb = "row" if unreadable == 1 else "rows"
        text = f"{unreadable} {verb} could not be read, the first: {first_problem}"
        text = text if unreadable else ""
        raise missing_columns_error(missing, available, text, subject=subject, requested=columns)


def check_source(source: Any, name: str = "requests") -> Any:
    """Return a source of rows, unless it is of a type that cannot be one.

    :param source: the source, as for :func:`read_raw_rows`.
    :param name: subject of the error. Default: the argument of the operator.
    :raises FluxRequestError: if it does not iterate over rows, for example a dict or a data frame.
    """
    if _as_text(source) is not None:
        return source
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        raise FluxRequestError(
            f"{name} is a data frame. Write it to a .parquet file, or pass df.to_dict('records')."
        )
    is_unsuited = isinstance(source, (Mapping, bytes, bytearray, set, frozenset))
    if is_unsuited or not (hasattr(source, "__iter__") or hasattr(source, "__getitem__")):
        raise FluxRequestError(
            f"{name} is {with_article(type(source).__name__)}. It must be {ACCEPTED_SOURCES}."
        )
    return source


def _as_text(source: Any) -> str | None:
    """Return a path or JSON text; ``None`` for rows."""
    return str(source).strip() if isinstance(source, str) or is_path(source) else None


def _parse_json_list(text: str) -> list[Any]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        raise FluxRequestError(
            "requests is text that begins like a list but is not JSON. Pass "
            "requests=my_task.output, or use {{ ti.xcom_pull('my_task') | tojson }} in a template."
        ) from None
    return rows  # type: ignore[no-any-return]
