"""From a connection to its database: any ``DbApiHook``, and one clear error for all others."""

from __future__ import annotations

import json
import sys

import pytest

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.hooks.sql import open_database
from tests.support.sql_databases import PASSWORD, PostgresLab, SqliteLab


def refusal_of(conn_id: str) -> str:
    with pytest.raises(FluxConfigurationError) as caught:
        open_database(conn_id)
    return str(caught.value)


def test_the_hook_is_that_of_the_type_of_the_connection(
    postgres: PostgresLab, sqlite: SqliteLab
) -> None:
    found = {lab.conn_id: open_database(lab.conn_id) for lab in (postgres, sqlite)}
    assert [type(database.hook).__name__ for database in found.values()] == [
        "PostgresHook",
        "SqliteHook",
    ]
    with found[postgres.conn_id].connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        assert postgres.sessions() == 1
    assert postgres.sessions() == 0


def test_a_connection_that_does_not_exist_is_named() -> None:
    assert refusal_of("flux_nowhere") == (
        "sql_conn_id='flux_nowhere': this connection does not exist. Create it, or correct the id."
    )


@pytest.mark.parametrize(
    ("conn_type", "reason"),
    [
        ("http", "has the type 'http', which is no SQL database: its hook HttpHook"),
        ("flux", "has the type 'flux', which is no SQL database: its hook FluxHook"),
        ("oracle", "has the type 'oracle', whose hook cannot be loaded"),
    ],
)
def test_a_connection_without_a_database_is_refused_by_its_type(
    conn_type: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": conn_type, "host": "h", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_FLUX_TEST_OTHER", json.dumps(connection))
    message = refusal_of("flux_test_other")
    assert reason in message
    assert PASSWORD not in message


def test_without_common_sql_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.common.sql.hooks.sql", None)
    assert "pip install 'airflow-provider-flux[sql]'" in refusal_of("any")


def test_the_secrets_of_a_connection_are_its_password_and_the_extras_with_such_a_name(
    sqlite: SqliteLab,
) -> None:
    sqlite.publish(
        password="pass",
        extra={"region": "eu", "private_key": "pem", "options": {"auth_token": ["t1", "t2"]}},
    )
    assert open_database(sqlite.conn_id).secrets == ("pass", "pem", "t1", "t2")
    assert "pem" not in repr(open_database(sqlite.conn_id))
