"""The options that name the rows of a command: a file, or a query."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_flux.batch.input.sql import SqlQuery, check_query
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.cli.task_ids import existing_file

#: Options of a query, and the arguments of the operator with the same meaning.
_SQL_OPTIONS = ("sql", "sql_conn_id", "sql_parameters")


@dataclass(frozen=True)
class RowOptions:
    """The rows that the options of a command name.

    :param name: short name, for the ids of the command.
    :param identity: JSON values that tell these rows from others.
    :param source: the source for
        :func:`~airflow_provider_flux.batch.input.rows.read_rows`.
    :param arguments: the arguments of the operator that name the rows.
    """

    name: str
    identity: tuple[Any, ...]
    source: Any
    arguments: dict[str, Any]


def read_row_options(args: argparse.Namespace) -> RowOptions:
    """Return the rows that the options name.

    :param args: the parsed options of the command.
    :raises FluxRequestError: if they name no rows, or two sources, or a file that does not exist.
    """
    names = [name.strip() for name in (args.column_names or "").split(",") if name.strip()]
    shared = {"column_names": names} if names else {}
    if args.sql is None:
        if args.file is None:
            raise FluxRequestError("FILE or --sql is required.")
        for name in _SQL_OPTIONS[1:]:
            if getattr(args, name) is not None:
                raise FluxRequestError(f"--{name.replace('_', '-')} needs --sql.")
        path = existing_file(args.file)
        return RowOptions(Path(path).stem, (path,), path, {"requests": path, **shared})
    if args.file is not None:
        raise FluxRequestError("FILE and --sql are both given. Rows come from one of them.")
    if args.sql_conn_id is None:
        raise FluxRequestError("--sql needs --sql-conn-id: the connection to the database.")
    if names:
        raise FluxRequestError("--column-names is for rows of a file. Name the columns in --sql.")
    statement, parameters = _read_statement(args.sql), _read_parameters(args.sql_parameters)
    check_query(statement, parameters)
    query = SqlQuery(args.sql_conn_id, statement, parameters)
    values = (statement, args.sql_conn_id, parameters)
    name = Path(args.sql).stem if args.sql.strip().endswith(".sql") else "query"
    return RowOptions(name, values, query, dict(zip(_SQL_OPTIONS, values, strict=True)))


def _read_statement(text: str) -> str:
    """Return a query, or that of a local file."""
    if not text.strip().endswith(".sql"):
        return text
    try:
        return Path(existing_file(text.strip())).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FluxRequestError(f"{text.strip()} cannot be read ({type(error).__name__}).") from None


def _read_parameters(text: str | None) -> Any:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, (dict, list)):
        raise FluxRequestError("--sql-parameters must be a JSON object or list, for example '[7]'.")
    return value
