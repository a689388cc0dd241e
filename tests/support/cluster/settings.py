"""The environment in which the Airflow components of a test cluster run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.support.cluster.postgres import PostgresServer
from tests.support.cluster.processes import free_port

JWT_SECRET = "known-to-all-components-of-a-test-cluster-and-to-nobody-else-at-all"
FERNET_KEY = "dGVzdC1jbHVzdGVyLWZlcm5ldC1rZXktMzItYnl0ZXM="

# The Airflow, proxy and database settings of a developer, and their paid API key, stay outside.
FOREIGN_PREFIXES = ("AIRFLOW", "_AIRFLOW", "BFL_", "PG")
FOREIGN_NAMES = {"PYTHONDONTWRITEBYTECODE", "http_proxy", "https_proxy", "all_proxy", "ftp_proxy"}


def environment(
    home: Path,
    dags_folder: Path,
    postgres: PostgresServer,
    *,
    api_port: int,
    parallelism: int,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of all components; ``extra`` wins over all other settings."""
    loopback = "127.0.0.1,localhost,::1"
    return {
        **{name: value for name, value in os.environ.items() if not _is_foreign(name)},
        "AIRFLOW_HOME": str(home),
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        "NO_COLOR": "1",
        # A killed component must not lose the end of its log.
        "PYTHONUNBUFFERED": "1",
        "PYTHONPYCACHEPREFIX": _bytecode_cache().name,
        **_as_variables(_deployment_options(dags_folder, postgres, api_port, parallelism)),
        **_as_variables(_pace_options()),
        **extra,
    }


def component_environment(shared: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the environment of one component, with the name of the component as user name.

    Airflow writes the user name as ``unixname`` to the job table, which is the only way to
    identify the row of a component.
    """
    # Each triggerer serves its logs, so several on one machine need several ports.
    return {
        **shared,
        "LOGNAME": name,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }


@cache
def _bytecode_cache() -> tempfile.TemporaryDirectory[str]:
    """Return the bytecode folder that all clusters of this test session share.

    Every component and every task imports anew, which takes half the time with bytecode. It is not
    kept beside the sources, where it would litter the tree and may be switched off.
    """
    return tempfile.TemporaryDirectory(prefix="test-cluster-bytecode-")


def _is_foreign(name: str) -> bool:
    return (
        name.startswith(FOREIGN_PREFIXES) or name in FOREIGN_NAMES or name.lower() in FOREIGN_NAMES
    )


def _as_variables(options: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    return {
        f"AIRFLOW__{section}__{name}".upper(): str(value)
        for section, values in options.items()
        for name, value in values.items()
    }


def _deployment_options(
    dags_folder: Path, postgres: PostgresServer, api_port: int, parallelism: int
) -> dict[str, dict[str, object]]:
    url = f"http://127.0.0.1:{api_port}"
    return {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": parallelism,
            "dags_folder": dags_folder,
            "load_examples": False,
            "fernet_key": FERNET_KEY,
            "hostname_callable": "socket.gethostname",
            "simple_auth_manager_all_admins": True,
            "execution_api_server_url": f"{url}/execution/",
        },
        "database": {
            "sql_alchemy_conn": postgres.url,
            "sql_alchemy_conn_async": postgres.async_url,
        },
        "api": {"host": "127.0.0.1", "port": api_port, "base_url": url, "secret_key": JWT_SECRET},
        "api_auth": {"jwt_secret": JWT_SECRET},
        "logging": {"worker_log_server_port": free_port(), "colored_console_log": False},
    }


def _pace_options() -> dict[str, dict[str, object]]:
    """Return intervals that are short enough for tests, and crash detection within seconds."""
    return {
        "core": {"min_serialized_dag_update_interval": 1},
        "dag_processor": {"refresh_interval": 2, "bundle_refresh_check_interval": 1},
        "scheduler": {
            "job_heartbeat_sec": 1,
            "scheduler_heartbeat_sec": 1,
            "scheduler_idle_sleep_time": 0.5,
            "scheduler_health_check_threshold": 15,
            "orphaned_tasks_check_interval": 10,
            "task_instance_heartbeat_timeout": 30,
            "task_instance_heartbeat_timeout_detection_interval": 5,
            "trigger_timeout_check_interval": 5,
        },
        "triggerer": {"job_heartbeat_sec": 1, "triggerer_health_check_threshold": 15},
        # A busy machine took 36 s for the first request of all, with which the server loads its
        # routes. By default a worker gives up after five tries of 5 s, and its task has failed.
        "workers": {"execution_api_timeout": 60},
    }
