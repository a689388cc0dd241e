"""Models that a DAG can use: those of the catalog, and of ``[flux] models``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_flux.bfl.catalog import MODELS, Model

#: Seconds after which to stop waiting for a generation of a model without a typical duration.
DEFAULT_TIMEOUT = 600.0


def known_models() -> Mapping[str, Model]:
    """Return every known model by name; those of ``[flux] models`` replace those of the catalog.

    :raises FluxConfigurationError: if the option cannot be read.
    """
    return _merge_configured(conf.get("flux", "models", fallback="") or "")


def typical_seconds(model: Any) -> float:
    """Return how long a generation of a model usually takes, in seconds; 0 for an unknown model.

    :param model: name of the model.
    """
    entry = known_models().get(model) if isinstance(model, str) else None
    return entry.typical_seconds if entry else 0.0


def default_timeout(model: Any) -> float:
    """Return the seconds after which to give up on a generation.

    That is ten times its typical duration, and at least ten minutes.

    :param model: name of the model.
    """
    return max(DEFAULT_TIMEOUT, 10 * typical_seconds(model))


@lru_cache(maxsize=4)
def _merge_configured(text: str) -> Mapping[str, Model]:
    if not text.strip():
        return MODELS
    from airflow_provider_flux.bfl.catalog.custom import read_models  # only if there are any

    return MappingProxyType({**MODELS, **read_models(text)})
