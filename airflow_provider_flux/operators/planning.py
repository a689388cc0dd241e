"""The arguments of an incremental batch, and the task instance of a plan that no task runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.batch.survey import OnBudget, Prune
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.ledger.resume_policy import check_choices


def check_incremental(*, prune: Any, on_budget: Any, sidecar: bool) -> None:
    """Check the arguments ``prune`` and ``on_budget``.

    :param prune: action for images of gone rows.
    :param on_budget: action if the rows cost more than the budget.
    :param sidecar: whether images have sidecars.
    :raises FluxRequestError: naming the argument, its value and the allowed values.
    """
    choices = {"prune": Prune, "on_budget": OnBudget}
    check_choices({"prune": prune, "on_budget": on_budget}, choices)
    if prune == "delete" and not sidecar:
        raise FluxRequestError(
            "prune='delete' needs sidecar=True: only the sidecar of an image proves that this task "
            "landed it."
        )


@dataclass
class PlannedTaskInstance:
    """The parts of a task instance that a plan uses. It writes nothing.

    :param dag_id: id of the DAG.
    :param task_id: id of the task.
    :param run_id: id of the DAG run; ``None`` without one.
    :param map_index: map index; -1 for a task that is not mapped.
    :param try_number: number of the try.
    :param max_tries: number of the last try before which Airflow retries by itself.
    """

    dag_id: str
    task_id: str
    run_id: str | None = None
    map_index: int = -1
    try_number: int = 1
    max_tries: int | None = None
