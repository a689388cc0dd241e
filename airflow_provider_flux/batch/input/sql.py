"""Rows of a query: one statement, in any database that has a ``DbApiHook``."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_flux.batch.input.file_formats import MAX_LINE_BYTES
from airflow_provider_flux.batch.input.json_values import NotJsonError
from airflow_provider_flux.batch.input.mapping import SPECIAL_NAMES
from airflow_provider_flux.batch.input.raw_rows import (
    Column,
    RawRow,
    RawValues,
    UnreadableRow,
    check_header,
    describe_unexpected,
    to_column_value,
)
from airflow_provider_flux.batch.input.sql_cursor import execute, fetch_rows, open_cursor, size_of
from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxInputError,
    FluxRequestError,
)
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.hooks.sql import SqlDatabase, open_database
from airflow_provider_flux.hooks.sql_errors import classify, describe_sql_error

#: Shortest text of a parameter that is removed from messages. Shorter ones are words of any text.
_MIN_SECRET_CHARACTERS = 4
_AFTER_STATEMENT = "; \n\t\r"


@dataclass(frozen=True)
class SqlQuery:
    """A query whose result is the input of a batch.

    :param conn_id: id of the connection of the database.
    :param statement: one statement that returns rows.
    :param parameters: dict or sequence for the placeholders of the driver; ``None`` for none.
    """

    conn_id: str
    statement: str = field(repr=False)
    parameters: Mapping[str, Any] | Sequence[Any] | None = field(default=None, repr=False)


def check_query(sql: Any, parameters: Any) -> None:
    """Check the arguments of a query that are known.

    :param sql: argument ``sql``.
    :param parameters: argument ``sql_parameters``.
    :raises FluxRequestError: if one of them has a wrong type, or the text is empty.
    """
    if not isinstance(sql, str):
        kind = type(sql).__name__
        raise FluxRequestError(
            f"sql is {kind}, not text. Write one statement, or the name of a .sql file with one."
        )
    if not sql.strip():
        raise FluxRequestError("sql is empty. Write a query, for example SELECT sku, name FROM t.")
    is_sequence = isinstance(parameters, Sequence) and not isinstance(parameters, (str, bytes))
    if parameters is not None and not is_sequence and not isinstance(parameters, Mapping):
        raise FluxRequestError(
            f"sql_parameters is {type(parameters).__name__}, not a list or a dict of the values of "
            "the placeholders in sql."
        )


def read_sql(query: SqlQuery, columns: Collection[Column] | None) -> Generator[RawRow]:
    """Run a query, and yield its rows. The connection is closed after the last one.

    Nothing is committed. Memory holds one page of rows.

    :param query: the query.
    :param columns: names to read, ``None`` for all. A name whose case differs from that of the
        database is found, unless the result has two such names.
    :return: the rows in the order of the result.
    :raises FluxRequestError: if the statement fails or is no query, or its result lacks a column.
    :raises FluxInputError: if the database does not answer, or the connection is lost. A retry may
        help.
    :raises FluxConfigurationError: if the connection is wrong, or may not read.
    """
    check_query(query.statement, query.parameters)
    database = open_database(query.conn_id)
    statement = _single_statement(query.statement, database.hook)
    try:
        with database.connect() as connection, closing(_run(connection, statement, query)) as rows:
            yield from _read_rows(rows, columns)
    except FluxError:
        raise
    except Exception as error:
        raise _translate_error(error, query, database) from None


def _run(
    connection: Any, statement: str, query: SqlQuery
) -> Generator[tuple[list[str] | None, Any]]:
    cursor = open_cursor(connection)
    execute(cursor, statement, query.parameters)
    yield from fetch_rows(cursor)


def _read_rows(
    rows: Iterator[tuple[list[str] | None, Any]], columns: Collection[Column] | None
) -> Iterator[RawRow]:
    header, _ = next(rows)
    if header is None:
        raise FluxRequestError(
            "sql returns no rows. It must be a query, for example SELECT sku, name FROM products."
        )
    names = _match_names(header, columns)
    check_header(names, columns, "sql")
    selected = [
        (position, name)
        for position, name in enumerate(names)
        if columns is None or name in columns
    ]
    for _, row in rows:
        yield RawRow(None, _read_row(row, header, selected))


def _read_row(row: Any, header: list[str], selected: list[tuple[int, str]]) -> RawValues:
    if size_of(row) > MAX_LINE_BYTES:
        return UnreadableRow(f"is longer than {MAX_LINE_BYTES // MIB} MiB")
    # A hook may choose a cursor whose rows are dicts.
    cells = [row[name] for name in header] if isinstance(row, Mapping) else row
    try:
        return {name: to_column_value(name, cells[position]) for position, name in selected}
    except NotJsonError as error:
        return UnreadableRow(str(error))
    except Exception as error:
        return UnreadableRow(describe_unexpected(error))


def _match_names(header: list[str], columns: Collection[Column] | None) -> list[str]:
    """Return the names of a result as the task expects them, whatever case the database gives them.

    Oracle and Snowflake write names in capitals, unless the query quotes them.
    """
    expected = {str(name) for name in columns} if columns is not None else _parameter_names()
    by_lower_case = {name.lower(): name for name in sorted(expected)}
    folded = [name.lower() for name in header]
    return [
        by_lower_case[lower]
        if name not in expected
        and by_lower_case.get(lower) not in {None, *header}
        and folded.count(lower) == 1
        else name
        for name, lower in zip(header, folded, strict=True)
    ]


def _parameter_names() -> set[str]:
    parameters = {name for model in known_models().values() for name in model.fields}
    return {*SPECIAL_NAMES, *parameters}


def _single_statement(text: str, hook: Any) -> str:
    """Return the statement without a semicolon at its end, which a cursor on the server refuses.

    :raises FluxRequestError: if there are several.
    """
    text = text.strip()
    try:
        statements = [part.strip() for part in hook.split_sql_string(text)]
    except Exception:  # too many values for the parser of common-sql
        statements = [part for part in text.split(";") if part.strip()]
    statements = [part for part in statements if part.strip(_AFTER_STATEMENT)]
    if len(statements) != 1:
        raise FluxRequestError(
            f"sql has {len(statements)} statements. Write one query, and the others in a task "
            "before it."
        )
    has_comment_at_end = statements[0].endswith(";") and not text.endswith(";")
    return (statements[0] if has_comment_at_end else text).rstrip(_AFTER_STATEMENT)


def _translate_error(error: Exception, query: SqlQuery, database: SqlDatabase) -> FluxError:
    """Return the error of this package for a query that failed."""
    secrets = [*database.secrets, *_texts_in(query.parameters)]
    reason = describe_sql_error(error, secrets)
    subject = f"The query sql on the connection {query.conn_id!r}"
    kind = classify(error)
    if kind == "transient":
        return FluxInputError(
            f"{subject} did not end ({reason}). Nothing was submitted. A retry may help."
        )
    if kind == "access":
        return FluxConfigurationError(
            f"{subject} is not allowed ({reason}). Retrying will not help. Check host, database "
            "and login of the connection, and let its user read the tables."
        )
    return FluxRequestError(
        f"{subject} failed ({reason}). Retrying will not help. Fix sql, sql_parameters or the data."
    )


def _texts_in(parameters: Any) -> Iterator[str]:
    values = parameters.values() if isinstance(parameters, Mapping) else parameters or ()
    for value in values:
        if isinstance(value, str) and len(value) >= _MIN_SECRET_CHARACTERS:
            yield value
