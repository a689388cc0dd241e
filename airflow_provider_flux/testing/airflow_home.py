"""The Airflow home of the tests: that of the user, or a temporary one."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

#: Variables that choose an Airflow of the user: its home, its settings or its database.
_CHOICES = ("AIRFLOW_HOME", "AIRFLOW_CONFIG", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
#: A home that this module made. Processes of pytest-xdist inherit it and make their own.
_MARK = "FLUX_TESTS_AIRFLOW_HOME"

_LATE = (
    "Airflow was imported before it had a home for tests, so this test would use the database "
    "in your home folder. Set flux_airflow_home = true in the pytest settings of the project, or "
    "AIRFLOW_HOME to the home that the tests shall use."
)


class LateImportError(RuntimeError):
    """Airflow was imported before a temporary home could be set."""


class AirflowHome:
    """The Airflow home of one process that runs tests."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._has_database = False

    @property
    def is_temporary(self) -> bool:
        """Whether Airflow uses the home that :meth:`choose` made."""
        return self._folder is not None and os.environ.get("AIRFLOW_HOME") == self._folder.name

    def choose(self) -> None:
        """Set a temporary home, unless the user chose an Airflow or Airflow is imported."""
        if self._folder is not None or "airflow" in sys.modules or _user_chose():
            return
        self._folder = tempfile.TemporaryDirectory(prefix="flux-tests-", ignore_cleanup_errors=True)
        os.environ["AIRFLOW_HOME"] = os.environ[_MARK] = self._folder.name
        os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        # Tests may give two DAGs one id. Airflow stores the second one at once, not after 30 s.
        os.environ.setdefault("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "0")

    def prepare(self) -> Path:
        """Return the home, and make the database of a temporary one.

        :raises LateImportError: if Airflow is imported and the user chose no Airflow.
        """
        self.choose()
        if not self.is_temporary and not _user_chose():
            raise LateImportError(_LATE)
        if self.is_temporary and not self._has_database:
            from airflow.utils.db import initdb

            initdb()
            self._has_database = True
        from airflow.configuration import AIRFLOW_HOME

        return Path(AIRFLOW_HOME)

    def remove(self) -> None:
        """Delete the temporary home, if there is one."""
        if self._folder is not None:
            self._folder.cleanup()


def _user_chose() -> bool:
    """Whether the environment names an Airflow that this module did not make."""
    inherited = os.environ.get(_MARK)
    return any(
        value and not (name == "AIRFLOW_HOME" and value == inherited)
        for name, value in os.environ.items()
        if name.startswith(_CHOICES)
    )
