"""How the rows of a batch become requests: which column is what, and what holds for all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_flux.batch.input.json_values import NotJsonError, as_plain
from airflow_provider_flux.bfl.catalog import did_you_mean, get_model, route_of
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.configured_models import known_models

#: Names of columns that are no parameters of a model.
SPECIAL_NAMES = ("key", "model", "fallback_prompt", "fallback_model")
#: What a row or ``defaults`` that hold a webhook secret are told.
NO_SECRET = "webhook_secret would be stored with the row: set it in the connection"  # noqa: S105 - no secret
_NOT_FOR_ALL = {"key": "it tells the rows apart", "model": "give model=... beside it"}


@dataclass(frozen=True)
class InputMapping:
    """How rows become requests.

    :param columns: column of the input by parameter, or by one of :data:`SPECIAL_NAMES`; then nothing else is read.
        By default the name of each column is one of these itself.
    :param defaults: parameters of all rows that have none of their own; also ``fallback_prompt``, ``fallback_model``.
    :param model: model of all rows that name none; ``flux-pro-1.1`` by default.
    :param validate: ``False`` takes models and parameters this version does not know.
    """

    columns: Mapping[str, str] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    model: str = "flux-pro-1.1"
    validate: bool = True


def check_mapping(layout: InputMapping) -> None:
    """Check what is the same for all rows. What is literal in it can be checked when the DAG is parsed, too.

    :raises FluxRequestError: if it is of a wrong type, a name in it is unknown, or a webhook secret is in it.
    """
    if layout.validate:
        get_model(layout.model, known_models())
    else:
        route_of(layout.model, known_models())
    for argument, given in (("columns", layout.columns), ("defaults", layout.defaults)):
        if given is not None and not isinstance(given, Mapping):
            raise FluxRequestError(f"{argument} is {type(given).__name__}, not a dict.")
        for name in given or {}:
            _check_name(argument, name, layout.validate)
    for name, column in (layout.columns or {}).items():
        if not isinstance(column, str) or not column:
            raise FluxRequestError(f"columns[{name!r}]={column!r} must be the name of a column.")
    for name in layout.defaults:
        if name in _NOT_FOR_ALL:
            raise FluxRequestError(f"defaults cannot hold {name}: {_NOT_FOR_ALL[name]}.")
    defaults_of(layout)


def defaults_of(layout: InputMapping) -> dict[str, Any]:
    """Return the defaults as plain JSON, without those that are ``None``.

    :raises FluxRequestError: if JSON has no such value.
    """
    try:
        plain = {name: as_plain(value) for name, value in layout.defaults.items()}
    except NotJsonError as error:
        raise FluxRequestError(f"defaults: a value {error}.") from None
    return {name: value for name, value in plain.items() if value is not None}


def _check_name(argument: str, name: Any, validate: bool) -> None:
    if name == "webhook_secret":
        raise FluxRequestError(f"{argument}: {NO_SECRET}.")
    known = dict.fromkeys(
        [*SPECIAL_NAMES, *(one for model in known_models().values() for one in model.fields)]
    )
    if not isinstance(name, str) or (validate and name not in known):
        raise FluxRequestError(
            f"{argument}: {name!r} is neither a parameter of a model, nor one of {', '.join(SPECIAL_NAMES)}."
            f"{did_you_mean(name, known)}"
        )
