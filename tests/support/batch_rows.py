"""Rows of a batch, and a builder for them, without an operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.batch.input.requests import restore_request
from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.row_states import RowBuilder
from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Target

#: A model whose images cost 4 credits.
MODEL = "flux-pro-1.1"
#: A model whose images cost 3 credits.
CHEAP_MODEL = "flux-2-pro"


def build_request(model: str, parameters: Mapping[str, Any]) -> GenerationRequest:
    """Return a request that was checked before."""
    return restore_request(model, parameters, validate=True, models=MODELS)


def build_row(index: int, model: str = MODEL, fallback_model: str | None = None) -> Row:
    """Return a valid row with the key ``k<index>`` and the prompt ``p<index>``."""
    parameters = {"prompt": f"p{index}", "width": 256, "height": 256}
    fallback = build_request(fallback_model, parameters) if fallback_model else None
    return Row(index, f"k{index}", model, build_request(model, parameters), fallback, None)


def row_builder(path: str = "/x/{key}.{ext}") -> RowBuilder:
    """Return a builder of rows that land at ``path``."""
    return RowBuilder(LandingPlan(target=Target(path=path, host="h")), build_request)
