"""The models a DAG may name: the catalog, and those added in the Airflow configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from airflow.providers.common.compat.sdk import conf

from airflow_provider_flux.bfl.catalog import MODELS, Model
from airflow_provider_flux.bfl.catalog.custom import read_models


def known_models() -> Mapping[str, Model]:
    """Return every known model by name; those of ``[flux] models`` win over the built-in ones.

    :raises FluxConfigurationError: if the option cannot be read.
    """
    return _with_configured(conf.get("flux", "models", fallback="") or "")


@lru_cache(maxsize=4)
def _with_configured(text: str) -> Mapping[str, Model]:
    return MappingProxyType({**MODELS, **read_models(text)}) if text.strip() else MODELS
