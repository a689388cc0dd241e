"""Direct access to the metadata database of a test cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Text, cast, column, create_engine, func, select, table, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql import ColumnElement

TEXT_COLUMNS = """
    select table_name, column_name, data_type from information_schema.columns
    where table_schema = 'public'
      and data_type in ('text', 'character varying', 'json', 'jsonb', 'bytea')
    order by table_name, column_name
"""


class Database:
    """Plain SQL on a database. A connection stays open between calls, as tests ask often.

    It is tried before each call, so that restarts do no harm.
    """

    def __init__(self, url: str) -> None:
        """Take a SQLAlchemy URL without connecting."""
        self._engine = create_engine(
            url, pool_size=1, pool_pre_ping=True, isolation_level="AUTOCOMMIT"
        )

    def reachable(self) -> bool:
        """Whether the server answers."""
        try:
            self.sql("select 1")
        except OperationalError:
            return False
        return True

    def sql(self, query: str, **params: Any) -> list[tuple[Any, ...]]:
        """Run and commit one statement with ``:name`` parameters, and return its rows."""
        with self._engine.begin() as connection:
            result = connection.execute(text(query), params)
            return [tuple(row) for row in result] if result.returns_rows else []

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield ``(table.column, content)`` of every text, JSON and binary value of all tables."""
        for table_name, column_name, kind in self.sql(TEXT_COLUMNS):
            values: ColumnElement[Any] = column(column_name)
            content = func.encode(values, "escape") if kind == "bytea" else cast(values, Text)
            query = select(content).select_from(table(table_name)).where(values.is_not(None))
            with self._engine.connect() as connection:
                for value in connection.scalars(query):
                    yield f"{table_name}.{column_name}", value
