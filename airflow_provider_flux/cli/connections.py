"""Connections for commands that run outside of a task."""

from __future__ import annotations

import os


def use_database_connections() -> None:
    """Look for connections in Airflow's database, too, as Airflow's own commands do.

    From Airflow 3.1 on, a process that is not a server ignores the database by default.
    """
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
