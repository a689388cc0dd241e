"""A stream of rows from a DB-API connection, with few of them in memory.

The default cursors of psycopg and MySQL keep the whole result of a query in memory. Each driver has
another cursor that leaves it on the server. All others stream, or fetch as many rows as they are
asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any
from uuid import uuid4

from airflow_provider_flux.bfl.catalog.model import MIB

log = logging.getLogger(__name__)

#: Rows of the first page, by which the size of a row is known, and of all others at most.
FIRST_PAGE_ROWS = 50
MAX_PAGE_ROWS = 1000
#: Bytes of the texts of a page, unless one row has more.
_MAX_PAGE_BYTES = 8 * MIB
#: Drivers of PostgreSQL, whose cursors stay on the server if they have a name.
_NAMED_CURSORS = {"psycopg", "psycopg2"}
#: Module of the cursor that streams, by driver of MySQL.
_MYSQL_CURSORS = {"MySQLdb": "MySQLdb.cursors", "pymysql": "pymysql.cursors"}


def open_cursor(connection: Any) -> Any:
    """Return a cursor that leaves the rows on the server, if the driver has one.

    The caller closes the connection, which ends the cursor.

    :param connection: an open connection of any driver. No statement runs in it.
    """
    drivers = {cls.__module__.partition(".")[0] for cls in type(connection).__mro__}
    if drivers & _NAMED_CURSORS:
        return connection.cursor(name=f"flux_{uuid4().hex}")
    for driver in drivers & _MYSQL_CURSORS.keys():
        return connection.cursor(import_module(_MYSQL_CURSORS[driver]).SSCursor)
    return connection.cursor()


def execute(cursor: Any, statement: str, parameters: Any) -> None:
    """Run a statement. A literal ``%`` in it is doubled only if it has parameters.

    :param cursor: the cursor.
    :param statement: one statement.
    :param parameters: dict or sequence of the driver's placeholders; ``None`` for none.
    """
    if not parameters:
        cursor.execute(statement)
        return
    # psycopg takes a tuple or a dict, and no other type.
    is_mapping = isinstance(parameters, Mapping)
    cursor.execute(statement, dict(parameters) if is_mapping else tuple(parameters))


def fetch_rows(cursor: Any) -> Iterator[tuple[list[str] | None, Any]]:
    """Yield each row of an executed statement, with the names of its columns.

    :param cursor: the cursor. Its description may be known only after the first page.
    :return: pairs of all names and a row. The first pair has no row. Its names are ``None`` if the
        statement returns no rows.
    """
    count = FIRST_PAGE_ROWS
    names = _names_of(cursor)
    if names is None and not hasattr(cursor, "itersize"):
        yield None, None
        return
    page = _fetch(cursor, count)
    names = names or _names_of(cursor)
    yield names, None
    while page:
        size = 0
        for row in page:
            size += size_of(row)
            yield names, row
        count = max(1, min(MAX_PAGE_ROWS, _MAX_PAGE_BYTES * len(page) // max(1, size)))
        page = _fetch(cursor, count)


def size_of(row: Any) -> int:
    """Return the size of the texts and bytes of a row, which need most of its memory.

    :param row: a sequence or a mapping.
    """
    values: Any = row.values() if isinstance(row, Mapping) else row
    return sum(len(value) for value in values if isinstance(value, (str, bytes, memoryview, list)))


def _fetch(cursor: Any, count: int) -> Sequence[Any]:
    with suppress(Exception):  # some drivers fetch by it, others refuse it
        cursor.arraysize = count
    return cursor.fetchmany(count) or ()


def _names_of(cursor: Any) -> list[str] | None:
    description = cursor.description
    return [str(column[0]) for column in description] if description else None
