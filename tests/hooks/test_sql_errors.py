"""Errors of databases: each driver says in its own way whether a retry may help."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from airflow_provider_flux.hooks.sql_errors import classify, describe_sql_error


def make_error(name: str, *args: Any, module: str = "driver", **members: Any) -> Exception:
    """Return an error of a class with the name and the members of a driver's."""
    kind = type(name, (Exception,), {"__module__": module, **members})
    error: Exception = kind(*args)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (make_error("AdminShutdown", "x", sqlstate="57P01"), "transient"),
        (make_error("SerializationFailure", "x", pgcode="40001"), "transient"),
        (make_error("UndefinedColumn", "x", sqlstate="42703"), "final"),
        (make_error("InsufficientPrivilege", "x", sqlstate="42501"), "access"),
        (make_error("InvalidPassword", "x", sqlstate="28P01"), "access"),
        (make_error("Error", "08S01", "[08S01] link failure", module="pyodbc"), "transient"),
        (make_error("ProgrammingError", "42S02", "no table", module="pyodbc"), "final"),
        (make_error("OperationalError", "ERROR: lost"), "transient"),
        (make_error("OperationalError", 'password authentication failed for "x"'), "access"),
        (make_error("OperationalError", 'FATAL: database "x" does not exist'), "access"),
        (make_error("OperationalError", 2013, "Lost", module="MySQLdb.x"), "transient"),
        (make_error("OperationalError", 1054, "Unknown", module="pymysql.err"), "final"),
        (make_error("OperationalError", 1045, "Denied", module="pymysql.err"), "access"),
        (make_error("OperationalError", 1205, "Lock", module="mysql.connector"), "transient"),
        (make_error("DatabaseError", "x"), "transient"),
        (make_error("NotSupportedError", "x"), "final"),
        (ConnectionResetError("reset"), "transient"),
        (TypeError("not all arguments converted"), "final"),
    ],
)
def test_an_error_says_whether_a_retry_may_help(error: Exception, kind: str) -> None:
    assert classify(error) == kind


def test_the_errors_of_sqlite_are_told_apart_by_their_code() -> None:
    database = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as wrong:
        database.execute("SELECT x FROM nothing")
    assert classify(wrong.value) == "final"
    with pytest.raises(sqlite3.OperationalError) as missing:
        sqlite3.connect("file:/nowhere/at/all?mode=ro", uri=True)
    assert classify(missing.value) == "access"
    locked = make_error("OperationalError", "locked", sqlite_errorname="SQLITE_BUSY")
    assert classify(locked) == "transient"
    database.close()


def test_a_description_has_the_state_and_no_secret() -> None:
    error = make_error("OperationalError", "no route for hunter2\n  at host", sqlstate="08001")
    assert describe_sql_error(error, ["hunter2"]) == (
        "OperationalError, SQLSTATE 08001: no route for *** at host"
    )
    assert len(describe_sql_error(make_error("Error", "word " * 500))) < 320
    assert describe_sql_error(make_error("Error")) == "Error"
