"""Classify the errors of databases: can a retry help, and which text has no secret?

Each driver has exceptions of its own. They share the names of the classes of DB-API 2.0 (PEP 249),
and many have the SQLSTATE of the SQL standard.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal, TypeAlias

from airflow_provider_flux.bfl.redaction import redact_line
from airflow_provider_flux.object_store.errors import is_transient

#: ``transient``: a retry may help. ``access``: login, database or permission is wrong. ``final``:
#: the statement, its parameters or its values are wrong.
SqlErrorKind: TypeAlias = Literal["transient", "access", "final"]

#: Classes of SQLSTATE: connection, rollback, resources, object in use, operator, system, internal.
_TRANSIENT_STATES = ("08", "40", "53", "55", "57", "58", "XX")
#: Classes of SQLSTATE: authorization, and the name of the database. 42501: no permission.
_ACCESS_STATES = ("28", "3D", "42501")
_SQLSTATE = re.compile(r"(?=.*\d)[0-9A-Z]{5}")
_ACCESS_TEXT = re.compile(
    r"(?i)authentication failed|access denied|login failed|no password supplied|permission denied|"
    r"not authorized|incorrect username or password|(role|database|user) \S+ does not exist"
)
_FINAL_CLASSES = {"ProgrammingError", "DataError", "IntegrityError", "NotSupportedError"}
_TRANSIENT_CLASSES = {"OperationalError", "InterfaceError", "InternalError"}
#: Result codes of SQLite for a file that another process uses, or that cannot be read now.
_TRANSIENT_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_PROTOCOL")
_MYSQL_DRIVERS = {"MySQLdb", "pymysql", "mysql"}
#: Error numbers of MySQL for a login or a database that is wrong, and of its server for load,
#: locks and shutdown. Numbers from 2000 on are about the connection.
_MYSQL_ACCESS = {1044, 1045, 1049, 1142, 1143, 1698}
_MYSQL_TRANSIENT = {1040, 1053, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1317, 3024}
_MYSQL_CONNECTION = 2000
_MAX_CHARACTERS = 300


def classify(error: BaseException) -> SqlErrorKind:
    """Return the kind of an error that a driver, or the hook around it, raised.

    :param error: the error.
    """
    state = sqlstate_of(error)
    if state:
        if state.startswith(_ACCESS_STATES):
            return "access"
        return "transient" if state.startswith(_TRANSIENT_STATES) else "final"
    if (code := getattr(error, "sqlite_errorname", None)) is not None:
        return _classify_sqlite(str(code))
    if (number := _mysql_number(error)) is not None:
        return _classify_mysql(number)
    if _ACCESS_TEXT.search(str(error)):
        return "access"
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _FINAL_CLASSES:
        return "final"
    if names & _TRANSIENT_CLASSES:
        return "transient"
    return "transient" if is_transient(error) else "final"


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error; ``None`` if the driver tells none.

    :param error: what a driver raised.
    """
    first = error.args[0] if error.args else None  # pyodbc has it there
    for value in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None), first):
        if isinstance(value, str) and _SQLSTATE.fullmatch(value):
            return value
    return None


def describe_sql_error(error: BaseException, secrets: Collection[str] = ()) -> str:
    """Return class, SQLSTATE and message of an error, without secrets, in one line.

    :param error: what a driver raised.
    :param secrets: texts that are removed, for example the password of the connection.
    """
    # The rest of a message of PostgreSQL quotes the statement, and values of rows.
    primary: Any = getattr(getattr(error, "diag", None), "message_primary", None)
    text = redact_line(str(primary or error), *secrets)[:_MAX_CHARACTERS]
    state = sqlstate_of(error)
    facts = f"{type(error).__name__}, SQLSTATE {state}" if state else type(error).__name__
    return f"{facts}: {text}" if text else facts


def _classify_sqlite(code: str) -> SqlErrorKind:
    if code.startswith(_TRANSIENT_SQLITE):
        return "transient"
    return (
        "access" if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")) else "final"
    )


def _mysql_number(error: BaseException) -> int | None:
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    number = error.args[0] if error.args else None
    return number if modules & _MYSQL_DRIVERS and isinstance(number, int) else None


def _classify_mysql(number: int) -> SqlErrorKind:
    if number in _MYSQL_ACCESS:
        return "access"
    is_about_connection = _MYSQL_CONNECTION <= number < _MYSQL_CONNECTION + 1000
    return "transient" if is_about_connection or number in _MYSQL_TRANSIENT else "final"
