"""Rows of a query, from a real PostgreSQL and from SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.input.raw_rows import UnreadableRow
from airflow_provider_flux.batch.input.rows import Row, read_rows
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.batch.input.sql import SqlQuery
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxInputError,
    FluxRequestError,
)
from tests.support.batch_inputs import read_values, refusal_of
from tests.support.cluster.processes import free_port
from tests.support.memory_use import measure
from tests.support.sql_databases import PASSWORD, PostgresLab, SqliteLab, SqlLab


@pytest.fixture(params=["postgres", "sqlite"])
def database(request: pytest.FixtureRequest) -> SqlLab:
    """A table ``products`` in PostgreSQL, and in SQLite."""
    lab: SqlLab = request.getfixturevalue(request.param)
    lab.run("CREATE TABLE products (sku text, name text, price numeric)")
    mark = "%s" if request.param == "postgres" else "?"
    rows = [("a-1", "Chair", 9.5), ("a-2", "Desk", 20), ("a-3", None, 0)]
    lab.run(f"INSERT INTO products VALUES ({mark}, {mark}, {mark})", rows)
    return lab


def rows_of(query: SqlQuery, **mapping: Any) -> list[Row]:
    return list(read_rows(query, InputMapping(**mapping)))


# Statement and columns


def test_the_rows_of_a_query_have_the_names_that_the_query_gives(database: SqlLab) -> None:
    query = SqlQuery(database.conn_id, "SELECT sku AS key, name FROM products ORDER BY sku")
    assert read_values(query) == [
        {"key": "a-1", "name": "Chair"},
        {"key": "a-2", "name": "Desk"},
        {"key": "a-3", "name": None},
    ]
    assert read_values(query, ["name"])[1] == {"name": "Desk"}


@pytest.mark.parametrize(
    "text", ["{}", "{} ;\n", "-- one; two\n{}", "{}; -- the end", "{} /* ; */", "\n{};;"]
)
def test_one_statement_may_have_comments_and_a_semicolon_at_its_end(
    database: SqlLab, text: str
) -> None:
    statement = text.format("SELECT 'a;b' AS key, 'It''s; fine' AS prompt")
    assert read_values(SqlQuery(database.conn_id, statement)) == [
        {"key": "a;b", "prompt": "It's; fine"}
    ]


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "DELETE FROM products; SELECT 1", ";"])
def test_several_statements_are_refused_and_none_runs(database: SqlLab, text: str) -> None:
    assert " statements. Write one query" in refusal_of(SqlQuery(database.conn_id, text))
    count = read_values(SqlQuery(database.conn_id, "SELECT count(*) AS key FROM products"))
    assert count == [{"key": 3}]


def test_values_for_placeholders_are_passed_to_the_driver(
    postgres: PostgresLab, sqlite: SqliteLab
) -> None:
    robber = "Robert'); DROP TABLE products;--"
    for lab, mark, named in ((postgres, "%s", "%(n)s"), (sqlite, "?", ":n")):
        listed = SqlQuery(lab.conn_id, f"SELECT {mark} AS key", [robber])
        assert read_values(listed) == [{"key": robber}]
        members = SqlQuery(lab.conn_id, f"SELECT {named} AS key", {"n": robber})
        assert read_values(members) == [{"key": robber}]


def test_a_percent_sign_needs_no_second_one_without_parameters(database: SqlLab) -> None:
    query = SqlQuery(database.conn_id, "SELECT sku FROM products WHERE name LIKE 'De%'")
    assert read_values(query) == [{"sku": "a-2"}]


def test_a_repeated_or_missing_column_is_refused_by_its_name(database: SqlLab) -> None:
    twice = SqlQuery(database.conn_id, "SELECT sku, name, name FROM products")
    assert refusal_of(twice) == "sql has the column 'name' twice."
    assert read_values(twice, ["sku"])[0] == {"sku": "a-1"}
    assert refusal_of(twice, ["title"]) == (
        "sql has no column 'title', which columns names. It has: 'sku', 'name', 'name'"
    )
    assert "columns has the position 0" in refusal_of(twice, [0])


def test_names_are_found_in_the_case_that_the_database_gives_them(sqlite: SqliteLab) -> None:
    """Oracle and Snowflake write names in capitals."""
    query = SqlQuery(sqlite.conn_id, "SELECT 'a' AS SKU, 'b' AS Sku2, 'c' AS PROMPT")
    assert read_values(query, ["sku", "Sku2"]) == [{"sku": "a", "Sku2": "b"}]
    assert read_values(query) == [{"SKU": "a", "Sku2": "b", "prompt": "c"}]
    both = SqlQuery(sqlite.conn_id, "SELECT 'a' AS SKU, 'b' AS sku, 'c' AS Sku")
    assert read_values(both, ["sku"]) == [{"sku": "b"}]
    assert "no column 'skU'" in refusal_of(both, ["skU"])


def test_a_query_without_rows_warns(database: SqlLab, caplog: pytest.LogCaptureFixture) -> None:
    query = SqlQuery(database.conn_id, "SELECT sku AS key FROM products WHERE sku = 'x'")
    assert read_values(query, ["key"]) == []
    assert "sql has no rows" in caplog.text
    assert "no column 'x'" in refusal_of(query, ["x"])


def test_a_statement_that_returns_no_rows_is_refused(sqlite: SqliteLab) -> None:
    query = SqlQuery(sqlite.conn_id, "CREATE TABLE other (x int)")
    assert "sql returns no rows. It must be a query" in refusal_of(query)


def test_nothing_that_a_query_changes_is_kept(sqlite: SqliteLab) -> None:
    sqlite.run("CREATE TABLE taken (x int)")
    query = SqlQuery(sqlite.conn_id, "INSERT INTO taken VALUES (1) RETURNING x AS key")
    assert read_values(query) == [{"key": 1}]
    assert read_values(SqlQuery(sqlite.conn_id, "SELECT count(*) AS n FROM taken")) == [{"n": 0}]


def test_rows_without_a_key_are_refused_before_the_first_of_them_counts(database: SqlLab) -> None:
    """In another order, a retry would pay for them again."""
    query = SqlQuery(database.conn_id, "SELECT sku, name AS prompt FROM products")
    with pytest.raises(FluxRequestError, match="sql has no key, and a table has no order"):
        rows_of(query)
    with pytest.raises(FluxRequestError, match="sql has no key"):
        rows_of(query, columns={"prompt": "prompt"})
    keys = [row.key for row in rows_of(query, columns={"key": "sku", "prompt": "prompt"})]
    assert sorted(keys) == ["a-1", "a-2", "a-3"]


def test_prompts_are_made_from_the_columns_of_a_query(database: SqlLab) -> None:
    query = SqlQuery(database.conn_id, "SELECT sku, name, price FROM products ORDER BY sku")
    rows = rows_of(query, columns={"key": "sku"}, prompt="Photo of {name}", keep_columns=["price"])
    assert [row.request and row.request.parameters["prompt"] for row in rows] == [
        "Photo of Chair",
        "Photo of Desk",
        None,
    ]
    assert str(rows[0].data["price"]) == "9.5"
    with pytest.raises(FluxRequestError, match="sql has no column 'nme', which prompt names"):
        rows_of(query, columns={"key": "sku"}, prompt="Photo of {nme}")


# Values


def test_every_type_of_postgresql_becomes_a_value_or_a_problem_of_its_row(
    postgres: PostgresLab,
) -> None:
    values = {
        "1.10::numeric": "1.10",
        "7::bigint": 7,
        "0.5::float8": 0.5,
        "true": True,
        "NULL::text": None,
        "'NaN'::float8": None,
        "'x'::text": "x",
        "DATE '2026-01-05'": "2026-01-05",
        "TIMESTAMP '2026-01-05 10:00:00'": "2026-01-05T10:00:00",
        "TIME '10:00'": "10:00:00",
        "'8c7bd37e-9a0f-4ab5-a93e-0a0e6d1f2f11'::uuid": "8c7bd37e-9a0f-4ab5-a93e-0a0e6d1f2f11",
        """'{"a": [1, null]}'::jsonb""": {"a": [1, None]},
        "ARRAY['a', 'b']": ["a", "b"],
    }
    for expression, expected in values.items():
        (row,) = rows_of(SqlQuery(postgres.conn_id, f"SELECT 'k' AS key, {expression} AS v"))
        assert row.data == {"key": "k", "v": expected}, expression
    problems = {
        "'\\xff'::bytea": "v is bytes. Pass a URI, a URL, or base64 as text",
        "INTERVAL '1 day'": "v has type timedelta, which JSON cannot represent",
        "'inf'::float8": "v is infinite",
    }
    for expression, problem in problems.items():
        query = SqlQuery(postgres.conn_id, f"SELECT 'k' AS key, {expression} AS v")
        assert read_values(query) == [UnreadableRow(problem)]
        assert read_values(query, ["key"]) == [{"key": "k"}]


def test_a_key_is_the_same_whatever_number_type_its_column_has(postgres: PostgresLab) -> None:
    query = "SELECT 101::{} AS key, 'fox' AS prompt"
    kinds = ("int", "bigint", "numeric", "numeric(9,2)", "float8", "text")
    keys = {rows_of(SqlQuery(postgres.conn_id, query.format(kind)))[0].key for kind in kinds}
    assert keys == {"101"}
    (row,) = rows_of(SqlQuery(postgres.conn_id, query.format("numeric").replace("101", "1.10")))
    assert row.key == "1.10"


@pytest.mark.parametrize("cursor", ["dictcursor", "namedtuplecursor"])
def test_the_cursor_that_a_connection_chooses_gives_the_same_rows(
    postgres: PostgresLab, cursor: str
) -> None:
    postgres.publish(extra={**postgres.connection["extra"], "cursor": cursor})
    query = SqlQuery(postgres.conn_id, "SELECT 'a' AS key, 'fox' AS prompt")
    assert read_values(query) == [{"key": "a", "prompt": "fox"}]


def test_templates_in_the_rows_of_a_table_stay_text(sqlite: SqliteLab) -> None:
    text = "{{ conn.flux_default.password }}"
    (row,) = rows_of(SqlQuery(sqlite.conn_id, "SELECT 'a' AS key, ? AS prompt", [text]))
    assert row.request is not None
    assert row.request.parameters["prompt"] == text


# The stream, and its connection


def test_the_connection_is_open_while_rows_are_read_and_closed_after_the_last(
    postgres: PostgresLab,
) -> None:
    rows = read_raw_rows(
        SqlQuery(postgres.conn_id, "SELECT n AS key FROM generate_series(1, 3000) n")
    )
    next(rows)
    assert postgres.sessions() == 1
    assert sum(1 for _ in rows) == 2999
    assert postgres.sessions() == 0


def test_rows_that_nobody_reads_to_their_end_leave_no_connection(postgres: PostgresLab) -> None:
    statement = "SELECT n AS key FROM generate_series(1, 3000) n"
    rows = read_rows(SqlQuery(postgres.conn_id, statement), InputMapping())
    next(rows)
    del rows
    assert postgres.sessions() == 0


def test_twenty_thousand_rows_take_no_memory_of_their_own(postgres: PostgresLab) -> None:
    """``make soak`` and ``benchmarks.sql`` read 100,000. With ``fetchall`` it is 1 KiB for each."""
    counts, grown = measure(_read_series, postgres.conn_id, 20_000).outcome
    assert counts == (1000, 20_000)
    assert grown < 8, "MiB more than 1,000 rows need"


def _read_series(conn_id: str, count: int) -> tuple[tuple[int, int], float]:
    """Read few rows, then many, and return the growth of the peak in between."""
    from tests.support.memory_use import run_measured

    statement = "SELECT n AS key, repeat('x', 1000) || n AS prompt FROM generate_series(1, %s) n"

    def read(rows: int) -> int:
        return sum(1 for _ in read_raw_rows(SqlQuery(conn_id, statement, [rows])))

    few = read(1000)
    many = run_measured(read, count)
    return (few, many.outcome), many.grown_mib


# Errors


def error_of(query: SqlQuery, kind: type[FluxError]) -> str:
    message = refusal_of(query, kind=kind)
    assert PASSWORD not in message
    return message


def test_a_wrong_query_is_final_and_says_so(database: SqlLab) -> None:
    message = error_of(SqlQuery(database.conn_id, "SELECT nme FROM products"), FluxRequestError)
    assert message.startswith(f"The query sql on the connection {database.conn_id!r} failed (")
    assert "nme" in message
    assert message.endswith("Retrying will not help. Fix sql, sql_parameters or the data.")


def test_an_error_shows_no_value_of_a_parameter(postgres: PostgresLab) -> None:
    query = SqlQuery(postgres.conn_id, "SELECT (%s::text)::int AS key", ["quiet-value"])
    message = error_of(query, FluxRequestError)
    assert "SQLSTATE 22P02" in message
    assert "quiet-value" not in message


def test_a_server_that_does_not_answer_may_answer_a_retry(postgres: PostgresLab) -> None:
    postgres.publish(port=free_port())
    message = error_of(SqlQuery(postgres.conn_id, "SELECT 1"), FluxInputError)
    assert "did not end (OperationalError: " in message
    assert message.endswith("Nothing was submitted. A retry may help.")


@pytest.mark.parametrize("change", [{"schema": "nothing"}, {"login": "nobody"}])
def test_a_wrong_login_or_database_is_a_fault_of_the_connection(
    postgres: PostgresLab, change: dict[str, str]
) -> None:
    postgres.publish(**change)
    message = error_of(SqlQuery(postgres.conn_id, "SELECT 1"), FluxConfigurationError)
    assert "is not allowed" in message


def test_a_table_that_the_user_may_not_read_is_a_fault_of_the_connection(
    postgres: PostgresLab,
) -> None:
    postgres.run("CREATE ROLE weak LOGIN")
    try:
        postgres.publish(login="weak")
        message = error_of(
            SqlQuery(postgres.conn_id, "SELECT rolpassword FROM pg_authid"), FluxConfigurationError
        )
        assert "SQLSTATE 42501" in message
    finally:
        postgres.run("DROP ROLE weak")


def test_a_connection_that_is_lost_between_two_pages_gives_one_clear_error(
    postgres: PostgresLab,
) -> None:
    statement = "SELECT n AS key, repeat('x', 5000) AS prompt FROM generate_series(1, 20000) n"
    rows = read_raw_rows(SqlQuery(postgres.conn_id, statement))
    next(rows)
    name = postgres.connection["extra"]["application_name"]
    postgres.values(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE application_name = '{name}' AND pid <> pg_backend_pid()"
    )
    with pytest.raises(FluxInputError, match="A retry may help") as caught:
        _drain(rows)
    assert caught.value.__cause__ is None
    assert PASSWORD not in str(caught.value)


def _drain(rows: Iterator[Any]) -> None:
    for _ in rows:
        pass


def test_a_locked_database_may_answer_a_retry(sqlite: SqliteLab) -> None:
    sqlite.run("CREATE TABLE t (x int)")
    sqlite.publish(extra={"timeout": 0.1})
    with closing(sqlite3.connect(sqlite.connection["host"])) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        message = error_of(SqlQuery(sqlite.conn_id, "SELECT x FROM t"), FluxInputError)
    assert "database is locked" in message
