"""An Airflow home of its own, and its command line in processes of their own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path


class Installation:
    """An Airflow of its own: a home with a migrated database, and its command line.

    :param home: folder of the home.
    """

    def __init__(self, home: Path) -> None:
        from airflow.providers_manager import ProvidersManager

        self.home = home
        self._database = home / "airflow.db"
        self.env = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._database}",
        }
        self.env.pop("_AIRFLOW_PROCESS_CONTEXT", None)
        takes_commands = hasattr(ProvidersManager, "cli_command_functions")  # from Airflow 3.2 on
        self._module = ["airflow", "flux"] if takes_commands else ["airflow_provider_flux"]

    def copy_to(self, home: Path) -> Installation:
        """Return a copy with a database of its own.

        :param home: folder of the new home.
        """
        shutil.copy(self._database, home / self._database.name)
        return Installation(home)

    def airflow(self, *arguments: str) -> str:
        """Run a command of Airflow."""
        return self._run("airflow", *arguments).stdout

    def init_pool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command of the provider."""
        return self._run(*self._module, "init-pool", *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of the provider as ``python -m airflow_provider_flux`` does."""
        return subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_flux", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def flux(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the provider as ``airflow flux`` does; its exit code is not checked."""
        return self._run(*self._module, *arguments, check=False)

    def pools(self) -> dict[str, tuple[int, bool, str]]:
        """Return slots, whether deferred tasks count, and the description of each pool."""
        query = "select pool, slots, include_deferred, description from slot_pool"
        with closing(sqlite3.connect(self._database)) as connection:
            rows = connection.execute(query).fetchall()
        return {
            name: (slots, bool(deferred), description)
            for name, slots, deferred, description in rows
        }

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done
