"""How long to wait for a generation, and where: by what its model usually takes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_flux.hooks.flux import DEFAULT_TIMEOUT
from airflow_provider_flux.models import known_models

#: Seconds from which on a model is one that takes its time.
_LONG = 60.0


def typical_seconds(model: Any) -> float:
    """Return how long a generation usually takes; 0 for a model that is not known."""
    entry = known_models().get(model) if isinstance(model, str) else None
    return entry.typical_seconds if entry else 0.0


def default_timeout(model: Any) -> float:
    """Return the seconds after which to give up on a generation, ten times as long as it usually takes."""
    return max(DEFAULT_TIMEOUT, 10 * typical_seconds(model))


def longest_wait(model: Any, timeout: float | None, execution_timeout: timedelta | None) -> float:
    """Return the seconds from the submit after which to give up.

    Airflow does not enforce ``execution_timeout`` while a task is deferred, so it counts here.
    """
    seconds = timeout or default_timeout(model)
    return min(seconds, execution_timeout.total_seconds()) if execution_timeout else seconds


def would_wait_in_vain(model: Any, inline_wait: float) -> bool:
    """Whether waiting on the worker is in vain: not wanted, or too short for a model that takes its time."""
    usual = typical_seconds(model)
    return not inline_wait or (usual >= _LONG and usual > inline_wait)
