"""The clear id, which distinguishes a clear by a user from a retry by Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Clear id of ``airflow flux generate`` and ``batch``, until a task goes on with their ledger. They
#: are no try of a task, so what they recorded belongs to the same clear as the task's first try.
COMMAND_CLEAR_ID = "command"


def clear_id_of(context: Mapping[str, Any]) -> str:
    """Return an id that a clear changes and a retry does not.

    It consists of ``max_tries`` of the task instance and the start of the DAG run. Clearing a
    finished task changes ``max_tries``. Clearing a finished run changes its start. So does a new
    run of the same name after the old one was deleted.

    :param context: the context of the running task, or that of a command.
    """
    ti = context["ti"]
    if getattr(ti, "is_command", False) is True:
        return COMMAND_CLEAR_ID
    started = getattr(context.get("dag_run"), "start_date", None)
    max_tries = getattr(ti, "max_tries", None)
    return f"{max_tries}/{started.isoformat() if started else None}"
