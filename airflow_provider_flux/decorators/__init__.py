"""The decorators ``@task.flux`` and ``@task.flux_batch``, also as typed functions to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_flux.decorators.flux import flux_task
    from airflow_provider_flux.decorators.flux_batch import flux_batch_task

__all__ = ["flux_batch_task", "flux_task"]


def __getattr__(name: str) -> Any:
    """Import a decorator when it is used, so that a DAG loads only the operator that it needs."""
    if name == "flux_task":
        from airflow_provider_flux.decorators.flux import flux_task

        return flux_task
    if name == "flux_batch_task":
        from airflow_provider_flux.decorators.flux_batch import flux_batch_task

        return flux_batch_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
