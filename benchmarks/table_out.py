"""Time and memory to write a manifest into a table of PostgreSQL.

``python -m benchmarks.table_out [ROWS]`` writes a manifest of 10,000 rows by default into a table
of a real server on loopback: into the empty table, then once more, then with one row of a hundred
changed. It prints the rows, CPU and wall-clock time of each, and the growth of the peak memory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.cluster.postgres import PostgresServer

CONN_ID = "flux_benchmark"
TABLE = "CREATE TABLE products (sku INTEGER PRIMARY KEY, image_url TEXT, alt_text TEXT, name TEXT)"
COLUMNS = {"sku": "key", "image_url": "uri", "alt_text": "alt_text", "name": "input.name"}
MIB = 1024**2


def write_manifest(path: Path, rows: int, changed: int = 0) -> None:
    """Write a manifest of about 500 bytes a row.

    :param path: its path.
    :param rows: number of rows.
    :param changed: every how many rows the alt text is another one; 0 for none.
    """
    with path.open("w") as stream:
        for number in range(rows):
            text = "Changed" if changed and number % changed == 0 else "Studio photo"
            row = {
                "key": str(number),
                "outcome": "landed",
                "uri": f"{path.parent}/{number}.jpeg",
                "alt_text": f"{text} on white: product {number}",
                "input": {"name": f"Product {number}", "text": "x" * 300},
            }
            stream.write(json.dumps(row) + "\n")


def transfer(manifest: Path) -> dict[str, Any]:
    """Write a manifest into the table, and print the figures.

    :param manifest: its path.
    """
    from airflow_provider_flux.transfers.flux_manifest_to_sql import FluxManifestToSqlOperator

    operator = FluxManifestToSqlOperator(
        task_id="to_table",
        conn_id=CONN_ID,
        table="products",
        manifest_path=str(manifest),
        columns=COLUMNS,
        key_columns=["sku"],
    )
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    counts = operator.execute({})  # type: ignore[arg-type]
    after, seconds = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = (after.ru_maxrss - before.ru_maxrss) / 1024
    figures = ", ".join(f"{counts[name]} {name}" for name in ("inserted", "updated", "unchanged"))
    print(f"{figures}: {cpu:.1f} s CPU, {seconds:.1f} s, +{grown:.0f} MiB")
    return counts


def main(rows: int) -> None:
    """Start PostgreSQL, and write the manifests.

    :param rows: number of rows.
    """
    with tempfile.TemporaryDirectory(prefix="flux-benchmark-") as name:
        folder = Path(name)
        os.environ["AIRFLOW_HOME"] = str(folder / "home")
        server = PostgresServer(folder / "data", log=folder / "postgres.log")
        server.start()
        try:
            server.wait_ready()
            run_all(folder, server.port, rows)
        finally:
            server.stop()


def run_all(folder: Path, port: int, rows: int) -> None:
    """Write the manifest three times.

    :param folder: folder for the manifest.
    :param port: port of PostgreSQL.
    :param rows: number of rows.
    """
    import psycopg2

    connection = {"conn_type": "postgres", "host": "127.0.0.1", "port": port, "login": "postgres"}
    connection["schema"] = "postgres"
    os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(connection)
    database = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres")
    database.cursor().execute(TABLE)
    database.commit()
    database.close()
    manifest = folder / "manifest.jsonl"
    write_manifest(manifest, rows)
    assert transfer(manifest)["inserted"] == rows
    assert transfer(manifest)["unchanged"] == rows
    write_manifest(manifest, rows, changed=100)
    assert transfer(manifest)["updated"] == -(-rows // 100)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10_000)
