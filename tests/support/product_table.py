"""A table of products in PostgreSQL, and batches over it in processes that a test may kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.landing_process import fork_context
from tests.support.memory_use import Measured, run_measured
from tests.support.sql_databases import PostgresLab

QUERY = "SELECT sku, name, colour, line FROM products ORDER BY sku"
#: Columns that the images are written back to.
WRITTEN = {"sku": "key", "image_url": "uri", "alt_text": "alt_text", "seed": "seed"}
_TABLE = (
    "CREATE TABLE products AS SELECT n AS sku, 'lamp ' || n AS name, 'red' AS colour, "
    "'line' || n % 7 AS line, repeat('a long description ', 20) AS description, "
    "null::text AS image_url, null::text AS alt_text, null::bigint AS seed, 0 AS writes "
    "FROM generate_series(1, {rows}) n"
)
_COUNT_WRITES = (
    "CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN NEW.writes = OLD.writes + 1; RETURN NEW; END'"
)
_TRIGGER = (
    "CREATE TRIGGER t BEFORE UPDATE OF image_url, alt_text, seed ON products FOR EACH ROW "
    "EXECUTE FUNCTION count_write()"
)


class MeasuredProcess:
    """A process that runs a function and measures it. It lives at most as long as its block."""

    def __init__(
        self, environment: Mapping[str, str], function: Callable[..., Any], *args: Any
    ) -> None:
        context = fork_context()
        self._results, results = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run, args=(results, dict(environment), function, args), daemon=True
        )
        self._process.start()
        results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()
        self._process.close()
        self._results.close()

    def kill(self) -> None:
        """End the process with SIGKILL, at whatever it does."""
        self._process.kill()
        self._process.join()

    def has_ended(self, seconds: float) -> bool:
        """Wait for the result at most for some seconds, and return whether there is one."""
        return self._results.poll(seconds)

    def result(self) -> Measured:
        """Return the result, once there is one."""
        measured: Measured = self._results.recv()
        return measured


@dataclass
class ProductTable:
    """A table of products, and the emulator that makes their images.

    :ivar night: number of the DAG run.
    :ivar try_number: number of the next try of the batch in it.
    :ivar samples: at times after the first submit of a try, the number of connections to the
        database that the batch had open.
    """

    lab: PostgresLab
    emulator: EmulatorServer
    folder: Path
    environment: Mapping[str, str]
    arguments: dict[str, Any] = field(default_factory=dict)
    night: int = 1
    try_number: int = 1
    samples: list[int] = field(default_factory=list)

    @classmethod
    def create(
        cls, lab: PostgresLab, emulator: EmulatorServer, folder: Path, rows: int
    ) -> ProductTable:
        """Make the table with a number of products."""
        lab.run(_TABLE.format(rows=rows))
        lab.run("ALTER TABLE products ADD PRIMARY KEY (sku)")
        lab.run(_COUNT_WRITES)
        lab.run(_TRIGGER)
        names = ("AIRFLOW_HOME", "AIRFLOW_CONN_FLUX_DEFAULT", f"AIRFLOW_CONN_{lab.conn_id.upper()}")
        return cls(lab, emulator, folder, {name: os.environ[name] for name in names})

    @property
    def submits(self) -> int:
        """Number of submits that the emulator has accepted."""
        return self.emulator.submits()

    def start(self, **changes: Any) -> MeasuredProcess:
        """Start a try in a process of its own."""
        arguments = {"sql": QUERY, "sql_conn_id": self.lab.conn_id, **self.arguments, **changes}
        order = (str(self.folder), self.night, self.try_number, arguments)
        self.try_number += 1
        return MeasuredProcess(self.environment, _run_try, *order)

    def run(self, **changes: Any) -> Measured:
        """Make a try, and watch its connections to the database."""
        before = self.submits
        with self.start(**changes) as process:
            while not process.has_ended(0.5):
                if self.submits > before:
                    self.samples.append(self.lab.sessions())
            measured = process.result()
        assert isinstance(measured.outcome, dict), measured.outcome
        return measured

    def run_killed(self, submits: int, **changes: Any) -> None:
        """Make a try, and kill its process after a number of submits."""
        with self.start(**changes) as process:
            while self.submits < submits:
                assert not process.has_ended(0.05), process.result().outcome
            self.samples.append(self.lab.sessions())

    def next_night(self, **changes: Any) -> dict[str, Any]:
        """Make the first try of the next DAG run, and return its summary."""
        self.night, self.try_number = self.night + 1, 1
        summary: dict[str, Any] = self.run(**changes).outcome
        return summary

    def write_back(self) -> dict[str, Any]:
        """Write the manifest into the table, and return the counts."""
        manifest = f"{self.folder}/out/manifest-hero.jsonl"
        with MeasuredProcess(self.environment, _write, self.lab.conn_id, manifest) as process:
            while not process.has_ended(1):
                time.sleep(0)
            counts = process.result().outcome
        assert isinstance(counts, dict), counts
        return counts

    def images(self) -> set[str]:
        """Return the keys that have an image on disk."""
        return {path.stem for path in (self.folder / "out").glob("line*/*.jpeg")}


def _run(
    results: Connection,
    environment: Mapping[str, str],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    os.environ.update(environment)
    for output in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    results.send(run_measured(function, *args))


def _run_try(folder: str, night: int, try_number: int, arguments: Mapping[str, Any]) -> Any:
    from airflow_provider_flux.batch.execution import context
    from tests.support.nightly import nightly

    context.typical_seconds = lambda model: 0.3  # the emulator is quick
    task = nightly(
        Path(folder),
        None,
        columns={"key": "sku"},
        prompt="Photo of {name}, {colour}",
        keep_columns=["line"],
        seed="stable",
        renditions={},
        **arguments,
    )
    task.arguments["output_path"] = f"{folder}/out/{{line}}/{{key}}.{{ext}}"
    task.night, task.try_number = night, try_number - 1
    return task.retry()


def _write(conn_id: str, manifest: str) -> Any:
    from airflow_provider_flux.transfers.flux_manifest_to_sql import FluxManifestToSqlOperator

    return FluxManifestToSqlOperator(
        task_id="to_table",
        conn_id=conn_id,
        table="products",
        manifest_path=manifest,
        columns=WRITTEN,
        key_columns=["sku"],
        on_missing="skip",
    ).execute({})  # type: ignore[arg-type]
