"""Limit groups: the models that share one limit of active generations."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.configured_models import known_models

#: Limit of most models. A model with a smaller limit keeps it, whatever the limit of the account is
#: (source: BFL's documentation of concurrency).
_USUAL_LIMIT = 24


def group_of(model: str, entry: Model | None) -> str:
    """Return the limit group of a model: ``video`` for all videos, the model itself otherwise.

    :param model: name of the model.
    :param entry: entry of the model in the catalog; ``None`` if the catalog does not know it.
    """
    return "video" if entry is not None and entry.output == "video" else model


def limits_by_group(requested: Mapping[str, int]) -> dict[str, int]:
    """Return the limits of the groups that have one of their own.

    :param requested: ``model_limits`` of the operator: active generations by model. They replace
        the limits of the catalog.
    """
    models = known_models()
    narrow = {
        name: entry.max_active for name, entry in models.items() if entry.max_active < _USUAL_LIMIT
    }
    return {
        group_of(model, models.get(model)): limit
        for limits in (narrow, requested)
        for model, limit in limits.items()
    }
