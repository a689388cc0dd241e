"""Rows of a cursor in pages, with the cursor that each driver needs for that."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest

from airflow_provider_flux.batch.input import sql_cursor
from airflow_provider_flux.batch.input.sql_cursor import execute, fetch_rows, open_cursor
from tests.support.sql_databases import PostgresLab

SERIES = "SELECT n, repeat('x', {}) AS text FROM generate_series(1, {}) n"


def connect_psycopg(lab: PostgresLab) -> Any:
    psycopg = pytest.importorskip("psycopg")
    members = {name: lab.connection[name] for name in ("host", "port")}
    return psycopg.connect(user="postgres", dbname="postgres", **members)


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_cursor_of_postgresql_leaves_the_rows_on_the_server(
    postgres: PostgresLab, driver: str
) -> None:
    with closing(
        postgres.connect() if driver == "psycopg2" else connect_psycopg(postgres)
    ) as connection:
        cursor = open_cursor(connection)
        assert cursor.name.startswith("flux_")
        execute(cursor, SERIES.format("%s", "%s"), [10, 2500])
        rows = fetch_rows(cursor)
        assert next(rows) == (["n", "text"], None)
        assert [row[0] for _, row in rows] == list(range(1, 2501))


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_the_names_of_an_empty_result_are_known(postgres: PostgresLab, driver: str) -> None:
    with closing(
        postgres.connect() if driver == "psycopg2" else connect_psycopg(postgres)
    ) as connection:
        cursor = open_cursor(connection)
        execute(cursor, "SELECT 1 AS a, 2 AS b WHERE false", None)
        assert list(fetch_rows(cursor)) == [(["a", "b"], None)]


class _Paged:
    """A cursor that counts the rows that it is asked for."""

    description = [("text",)]

    def __init__(self, sizes: list[int]) -> None:
        self._left = sizes
        self.asked: list[int] = []

    def fetchmany(self, count: int) -> list[tuple[str]]:
        self.asked.append(count)
        page, self._left = self._left[:count], self._left[count:]
        return [("x" * size,) for size in page]


def test_a_page_is_as_large_as_the_rows_before_it_allow() -> None:
    small, large = _Paged([10] * 5000), _Paged([2**20] * 100)
    assert sum(row is not None for _, row in fetch_rows(small)) == 5000
    assert small.asked[:3] == [sql_cursor.FIRST_PAGE_ROWS, 1000, 1000]
    assert sum(row is not None for _, row in fetch_rows(large)) == 100
    assert large.asked[1] == 8


class _ShortPages(_Paged):
    """A cursor that returns fewer rows than there are, as that of a warehouse may do."""

    def fetchmany(self, count: int) -> list[tuple[str]]:
        return super().fetchmany(min(count, 7))


def test_a_page_with_few_rows_is_not_the_last_one() -> None:
    assert sum(row is not None for _, row in fetch_rows(_ShortPages([1] * 100))) == 100


def test_a_driver_that_streams_keeps_its_cursor() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert isinstance(open_cursor(connection), sqlite3.Cursor)


@pytest.mark.parametrize("driver", ["MySQLdb", "pymysql"])
def test_a_driver_of_mysql_gets_the_cursor_that_streams(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No MySQL is started: this checks only which class of cursor is asked for."""
    module = ModuleType(f"{driver}.cursors")
    module.SSCursor = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, driver, ModuleType(driver))
    monkeypatch.setitem(sys.modules, f"{driver}.cursors", module)
    kind = type("Connection", (), {"__module__": f"{driver}.connections", "cursor": _return_class})
    assert open_cursor(kind()) is module.SSCursor


def _return_class(_: Any, cursor_class: Any) -> Any:
    return cursor_class
