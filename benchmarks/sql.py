"""Memory and time to read the rows of a batch from PostgreSQL.

``python -m benchmarks.sql [ROWS]`` reads 1,000 rows, then 100,000 by default, each of about a
kilobyte, from a real server on loopback: with ``sql=`` of the batch, and with the ``fetchall`` of
the usual hook. For each way it prints the growth of the peak memory over that of 1,000 rows, CPU
and wall-clock time. It ends with 1 if the stream takes more than 80 MiB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.cluster.postgres import PostgresServer

CONN_ID = "flux_benchmark"
STATEMENT = "SELECT n AS key, repeat('fox ', 250) || n AS prompt FROM generate_series(1, %s) n"
MIB = 1024**2
MAX_GROWTH = 80 * MIB


def read_as_stream(rows: int) -> int:
    """Read and check the rows as the batch does.

    :param rows: number of rows.
    """
    from airflow_provider_flux.batch.input.mapping import InputMapping
    from airflow_provider_flux.batch.input.rows import read_rows
    from airflow_provider_flux.batch.input.sql import SqlQuery

    query = SqlQuery(CONN_ID, STATEMENT, [rows])
    return sum(row.problem is None for row in read_rows(query, InputMapping()))


def read_as_usual(rows: int) -> int:
    """Fetch all rows with the hook, and check them as the rows of a list.

    :param rows: number of rows.
    """
    from airflow.providers.common.compat.sdk import BaseHook

    from airflow_provider_flux.batch.input.mapping import InputMapping
    from airflow_provider_flux.batch.input.rows import read_rows

    hook = BaseHook.get_connection(CONN_ID).get_hook()
    hook.log_sql = False
    fetched = hook.get_records(STATEMENT, parameters=[rows])
    mapping = InputMapping(column_names=["key", "prompt"])
    return sum(row.problem is None for row in read_rows(fetched, mapping))


WAYS: dict[str, Callable[[int], int]] = {"sql=": read_as_stream, "fetchall": read_as_usual}


def run_way(way: str, rows: int) -> None:
    """Run one way in this process, and print its peak in bytes and its seconds as JSON.

    :param way: name of the way.
    :param rows: number of rows.
    """
    WAYS[way](1000)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    assert WAYS[way](rows) == rows
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = (after.ru_maxrss - before.ru_maxrss) * 1024
    print(json.dumps([grown, cpu, time.perf_counter() - started]))


def main(rows: int) -> None:
    """Start PostgreSQL, run each way in a process of its own, and print its figures.

    :param rows: number of rows.
    """
    with tempfile.TemporaryDirectory(prefix="flux-benchmark-") as name:
        folder = Path(name)
        server = PostgresServer(folder / "data", log=folder / "postgres.log")
        server.start()
        try:
            server.wait_ready()
            connection = {
                "conn_type": "postgres",
                "host": "127.0.0.1",
                "port": server.port,
                "login": "postgres",
                "schema": "postgres",
            }
            environment = {
                **os.environ,
                "AIRFLOW_HOME": str(folder / "home"),
                f"AIRFLOW_CONN_{CONN_ID.upper()}": json.dumps(connection),
            }
            growth = {way: _measure(way, rows, environment) for way in WAYS}
        finally:
            server.stop()
    sys.exit(growth["sql="] > MAX_GROWTH)


def _measure(way: str, rows: int, environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "benchmarks.sql", way, str(rows)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    grown, cpu, seconds = json.loads(output.stdout.splitlines()[-1])
    print(
        f"{way:9} {rows} rows: +{grown / MIB:6.1f} MiB over 1000 rows, "
        f"{cpu:5.1f} s CPU, {seconds:5.1f} s"
    )
    return int(grown)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        run_way(sys.argv[1], int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 100_000)
