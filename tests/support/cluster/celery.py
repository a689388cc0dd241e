"""CeleryExecutor for a test cluster: Redis, and workers that are machines of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.support.cluster.postgres import PostgresServer
from tests.support.cluster.processes import Component, free_port
from tests.support.cluster.settings import component_environment

#: Gives the process a host name and a disk of its own, then becomes the program.
_ON_MACHINE = 'hostname "$1" && mount --bind "$2" "$3" && shift 3 && exec "$@"'


@cache
def missing_for_celery() -> str | None:
    """Return what this machine lacks for a cluster with Celery; ``None`` if nothing."""
    try:
        import airflow.providers.celery  # noqa: F401
    except ImportError:
        return "the Celery provider of Airflow is not installed"
    if shutil.which("redis-server") is None:
        return "redis-server is not installed; Debian has a package of this name"
    program = [*_unshare(), "sh", "-c", 'hostname "$0"', "worker"]
    try:
        subprocess.run(program, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "this user may not make namespaces with unshare, so all workers would be one machine"
    return None


class RedisServer(Component):
    """Debian's Redis on a loopback port, without files."""

    def __init__(self, folder: Path, *, log: Path) -> None:
        """Prepare the server.

        :param folder: its working folder.
        :param log: file for its output.
        """
        self.port = free_port()
        settings = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        super().__init__(
            "redis",
            [
                "redis-server",
                *(word for name, value in settings.items() for word in (f"--{name}", str(value))),
            ],
            env=os.environ,
            cwd=folder,
            log=log,
            ready=lambda _started_at: self._answers(),
        )

    @property
    def url(self) -> str:
        """URL of the broker."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class CeleryWorker(Component):
    """A Celery worker with a host name and folders of its own, as on another machine.

    It has its own ``AIRFLOW_HOME``, DAG folder, temporary folder and working folder. At the path of
    ``disk``, which is one path on all machines, each worker sees another folder.

    :ivar machine: folder with all files of the machine.
    :ivar logs: its task logs.
    """

    def __init__(
        self,
        name: str,
        machine: Path,
        *,
        disk: Path,
        dags_folder: Path,
        env: Mapping[str, str],
        log: Path,
        concurrency: int,
    ) -> None:
        """Prepare the machine with a copy of the DAG folder; ``start`` starts the worker.

        :param name: host name of the machine.
        :param machine: a new folder for its files.
        :param disk: path of the local disk on each machine.
        :param dags_folder: the DAG folder to copy.
        :param env: environment of all components.
        :param log: file for its output.
        :param concurrency: number of tasks that it runs together.
        """
        self.machine = machine
        self.logs = machine / "airflow-home" / "logs"
        folders = {part: machine / part for part in ("airflow-home", "tmp", "work", "disk")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        shutil.copytree(dags_folder, machine / "dags")
        self._broker_url = env["AIRFLOW__CELERY__BROKER_URL"]
        worker = [sys.executable, "-m", "airflow", "celery", "worker", "--skip-serve-logs"]
        options = {"--celery-hostname": name, "--concurrency": str(concurrency)}
        super().__init__(
            name,
            [
                *on_machine(name, folders["disk"], disk),
                *(*worker, *(word for option in options.items() for word in option)),
            ],
            env={
                **component_environment(env, name),
                "AIRFLOW_HOME": str(folders["airflow-home"]),
                "AIRFLOW__CORE__DAGS_FOLDER": str(machine / "dags"),
                "TMPDIR": str(folders["tmp"]),
            },
            cwd=folders["work"],
            log=log,
            ready=lambda _started_at: self.control("ping") is not None,
        )

    def control(self, command: str, **arguments: str) -> object | None:
        """Send a command to the worker as ``celery control`` does.

        :param command: name of the command, for example ``cancel_consumer``.
        :param arguments: its arguments.
        :returns: the reply; ``None`` if the worker does not answer.
        """
        from celery import Celery

        with Celery(broker=self._broker_url, set_as_current=False) as app:
            replies = app.control.broadcast(
                command, arguments, destination=[f"celery@{self.name}", self.name], reply=True
            )
        return replies[0] if replies else None


def celery_settings(redis: RedisServer, postgres: PostgresServer) -> dict[str, str]:
    """Return the settings of a deployment with CeleryExecutor.

    :param redis: the broker.
    :param postgres: the database, which keeps the results of Celery too.
    """
    options = {
        "CORE__EXECUTOR": "CeleryExecutor",
        "CELERY__BROKER_URL": redis.url,
        "CELERY__RESULT_BACKEND": f"db+{postgres.url}",
        # The default of a second is too short for machines with few cores.
        "CELERY__OPERATION_TIMEOUT": "15",
        "CELERY__SYNC_PARALLELISM": "1",
        "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
    }
    return {f"AIRFLOW__{name}": value for name, value in options.items()}


def on_machine(name: str, folder: Path, disk: Path) -> list[str]:
    """Return the beginning of a command that runs on a machine of its own.

    :param name: host name of the machine.
    :param folder: folder with the content of its disk.
    :param disk: path at which the machine sees its disk.
    """
    return [*_unshare(), "sh", "-c", _ON_MACHINE, "machine", name, str(folder), str(disk)]


def _unshare() -> list[str]:
    """Return a command that runs a program with its own host name and its own mounts."""
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ["unshare", *as_root, "--uts", "--mount"]
