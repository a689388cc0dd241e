"""An Airflow deployment on this machine: PostgreSQL and all components as processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.exc import OperationalError

from tests.support.cluster.celery import CeleryWorker, RedisServer, celery_settings
from tests.support.cluster.postgres import PostgresServer
from tests.support.cluster.processes import (
    Component,
    free_port,
    last_lines,
    sigterm_as_interrupt,
    wait_until,
)
from tests.support.cluster.rest import RestApi
from tests.support.cluster.settings import component_environment, environment

# Airflow dates the first heartbeat when it makes the row, and the start after that. A later
# heartbeat comes from the main loop of the component. It must be recent, since the loop may be
# stuck.
BEATING_JOBS = """
    select 1 from job
    where unixname = :name and state = 'running' and start_date >= :since
      and latest_heartbeat > start_date and latest_heartbeat > now() - interval '10 seconds'
"""
#: Placeholder for AIRFLOW_HOME in the kept settings, into which Airflow writes its absolute path.
_HOME = "@AIRFLOW_HOME@"


class Deployment:
    """One AIRFLOW_HOME below ``tmp_dir`` and all its processes, as a context manager."""

    def __init__(
        self,
        tmp_dir: Path,
        dags_folder: Path,
        *,
        triggerers: int = 1,
        parallelism: int = 8,
        celery_workers: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the deployment; entering the context starts it.

        ``env`` has settings that win over those of the deployment. With ``celery_workers``, the
        executor is CeleryExecutor, and each worker is a machine of its own. Otherwise it is
        LocalExecutor.
        """
        self.home = tmp_dir / "airflow-home"
        self.logs = self.home / "logs"
        self.component_logs = self.home / "component-logs"
        self.component_logs.mkdir(parents=True)
        api_port = free_port()
        self.api_url = f"http://127.0.0.1:{api_port}"
        self.rest = RestApi(self.api_url)
        # Not below the folder of pytest, which another pytest of root closes to the user of the
        # server: it would end at its next checkpoint.
        self._data = tempfile.TemporaryDirectory(prefix="test-cluster-database-")
        self.postgres = PostgresServer(
            Path(self._data.name) / "postgres", log=self.component_logs / "postgres.log"
        )
        self.database = self.postgres.database
        self.redis = (
            RedisServer(self.home, log=self.component_logs / "redis.log")
            if celery_workers
            else None
        )
        executor = celery_settings(self.redis, self.postgres) if self.redis else {}
        self.env = environment(
            self.home,
            dags_folder.resolve(),
            self.postgres,
            api_port=api_port,
            parallelism=parallelism,
            extra={**executor, **(env or {})},
        )
        #: Path of a folder that is another one on each Celery worker.
        self.disk = self.home / "disk"
        self.disk.mkdir()
        self.celery_workers = [
            self._celery_worker(
                f"worker-{n + 1}", dags_folder, max(1, parallelism // celery_workers)
            )
            for n in range(celery_workers)
        ]
        self.api_server = self._component("api-server", lambda _started_at: self.rest.is_up())
        self.scheduler = self._component("scheduler")
        self.dag_processor = self._component("dag-processor")
        self.triggerers = [self._component("triggerer", number=n + 1) for n in range(triggerers)]
        self.startup_seconds: dict[str, float] = {}
        self._exit = ExitStack()

    @property
    def components(self) -> list[Component]:
        """The components, without PostgreSQL."""
        broker = [self.redis] if self.redis else []
        airflow = [self.api_server, self.scheduler, self.dag_processor, *self.triggerers]
        return [*broker, *airflow, *self.celery_workers]

    @property
    def log_folders(self) -> list[Path]:
        """The folders of task logs: that of the deployment, and those of the Celery workers."""
        return [self.logs, *(worker.logs for worker in self.celery_workers)]

    def __enter__(self) -> Self:
        """Start all processes and wait until they work; end all of them if one does not."""
        with ExitStack() as stack:
            stack.enter_context(sigterm_as_interrupt())
            stack.callback(self._close)
            self._timed("database", self._prepare_database)
            self._timed("components", self.start, self.wait_ready)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every process; the logs stay."""
        self._exit.close()

    def start(self) -> None:
        """Start all components that are not running."""
        for component in self.components:
            if not component.running:
                component.start()

    def wait_ready(self, timeout: float = 120) -> None:
        """Block until each component works and the health endpoint agrees."""
        for component in self.components:
            component.wait_ready(timeout)
        if not wait_until(lambda: not self.rest.unhealthy(), timeout):
            raise TimeoutError(
                f"unhealthy after {timeout} s: {self.rest.unhealthy()}\n{self.dump()}"
            )

    def log_files(self) -> list[Path]:
        """Return all logs: of the components, of tasks and their triggers, of DAG parsing."""
        folders = [self.component_logs, *self.log_folders]
        paths = [path for folder in folders for path in folder.rglob("*")]
        return sorted(path for path in paths if path.is_file() and not path.is_symlink())

    def dump(self, tail: int = 60) -> str:
        """Return the end of every log, for the report of a failed test."""
        return "\n".join(
            f"===== {path.relative_to(self.home)}\n{last_lines(path, tail)}"
            for path in self.log_files()
        )

    def _component(
        self,
        command: str,
        ready: Callable[[datetime], bool] | None = None,
        *,
        number: int | None = None,
    ) -> Component:
        name = command if number is None else f"{command}-{number}"
        return Component(
            name,
            [sys.executable, "-m", "airflow", command],
            env=component_environment(self.env, name),
            cwd=self.home,
            log=self.component_logs / f"{name}.log",
            ready=ready or (lambda started_at: self._heart_beats(name, started_at)),
        )

    def _celery_worker(self, name: str, dags_folder: Path, concurrency: int) -> CeleryWorker:
        return CeleryWorker(
            name,
            self.home / "machines" / name,
            disk=self.disk,
            dags_folder=dags_folder,
            env=self.env,
            log=self.component_logs / f"{name}.log",
            concurrency=concurrency,
        )

    def _heart_beats(self, name: str, since: datetime) -> bool:
        try:
            return bool(self.database.sql(BEATING_JOBS, name=name, since=since))
        except OperationalError:
            return False

    def _prepare_database(self) -> None:
        """Start PostgreSQL with the tables of Airflow, copied from the session's first cluster."""
        kept, settings = _first_home(), self.home / "airflow.cfg"
        if not (kept / "airflow.cfg").exists():
            self._start_database()
            self._migrate()
            self.postgres.stop()
            _copy(self.postgres.data_dir, kept / "postgres")
            (kept / "airflow.cfg").write_text(settings.read_text().replace(str(self.home), _HOME))
        else:
            _copy(kept / "postgres", self.postgres.data_dir)
            settings.write_text((kept / "airflow.cfg").read_text().replace(_HOME, str(self.home)))
        self._start_database()

    def _start_database(self) -> None:
        self.postgres.start()
        self.postgres.wait_ready()

    def _migrate(self) -> None:
        log = self.component_logs / "migrate.log"
        with log.open("ab") as output:
            code = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self.env,
                cwd=self.home,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=300,
                check=False,
            ).returncode
        if code:
            raise RuntimeError(f"airflow db migrate failed with {code}:\n{last_lines(log, 40)}")

    def _close(self, grace: float = 2) -> None:
        """End every process, and delete the data of PostgreSQL; all other files stay."""
        # A stack ends the other processes even if one cannot be ended.
        with ExitStack() as last_first:
            last_first.callback(self._data.cleanup)
            last_first.callback(self.postgres.stop)
            last_first.callback(self.rest.close)
            for component in self.components:
                last_first.callback(component.ensure_stopped, grace)
            for component in self.components:
                last_first.callback(component.request_stop)

    def _timed(self, step: str, *actions: Callable[[], None]) -> None:
        started = time.monotonic()
        for action in actions:
            action()
        self.startup_seconds[step] = round(time.monotonic() - started, 1)


@cache
def _session_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="test-cluster-first-home-")


def _first_home() -> Path:
    """Return the folder with the migrated database and the settings of the session's first cluster.

    A migration takes ten seconds of a core. The database was shut down before it was copied.
    """
    return Path(_session_folder().name)


def _copy(source: Path, target: Path) -> None:
    """Copy with owners and permissions: the data of PostgreSQL may belong to another user."""
    subprocess.run(["cp", "-a", source, target], check=True)
