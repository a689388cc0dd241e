"""A process that runs one try of a batch on an account with budgets, to be killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

from tests.support.landing_process import fork_context

#: Longest time of one try.
_SECONDS = 240.0


@dataclass(frozen=True)
class BatchTask:
    """A batch task whose tries run in processes of their own.

    :param environment: environment variables, for example connections.
    :param dag_id: the DAG of the task.
    :param requests: its rows.
    :param output_path: path of the images.
    :param arguments: further arguments of the operator.
    """

    environment: Mapping[str, str]
    dag_id: str
    requests: tuple[Any, ...]
    output_path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def start(self, try_number: int) -> BaseProcess:
        """Start a try."""
        process = fork_context().Process(target=_run, args=(self, try_number), daemon=True)
        process.start()
        return process


def kill(process: BaseProcess) -> None:
    """Kill a try as the operating system does."""
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(_SECONDS)


def wait(process: BaseProcess) -> int | None:
    """Wait for the end of a try, and return its exit code: 0 also if its task failed."""
    process.join(_SECONDS)
    return process.exitcode


def _run(task: BatchTask, try_number: int) -> None:
    os.environ.update(task.environment)
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_provider_flux.batch import run_setup
    from airflow_provider_flux.batch.execution import context
    from tests.support.batch_tries import Batch

    vars(run_setup)["OWNER_CHECK_SECONDS"] = 0.0
    vars(context)["typical_seconds"] = lambda model: 0.3
    arguments = {"requests": list(task.requests), "output_path": task.output_path}
    batch = Batch({**arguments, **task.arguments}, dag_id=task.dag_id)
    batch.try_number = try_number - 1
    try:
        batch.retry()
    except AirflowFailException as error:
        print(time.time(), task.dag_id, try_number, error)  # noqa: T201
