"""Models that a DAG can use: those of the catalog, and of ``[flux] models``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from airflow.providers.common.compat.sdk import conf

from airflow_provider_flux.bfl.catalog import MODELS, Model

#: Seconds after which to stop waiting for a generation of a model without a typical duration.
DEFAULT_TIMEOUT = 600.0


def known_models() -> Mapping[str, Model]:
    """Return every known model by name; those of ``[flux] models`` replace those of the catalog.

    :raises FluxConfigurationError: if the option cannot be read.
    """
    return _merge_configured(_configured_text())


def text_parameters() -> Mapping[str, Literal["text", "texts"]]:
    """Return each parameter that is text in all models, and each that may be a list of texts.

    :raises FluxConfigurationError: if the option ``[flux] models`` cannot be read.
    """
    return _find_text_parameters(_configured_text())


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


def _configured_text() -> str:
    return conf.get("flux", "models", fallback="") or ""


@lru_cache(maxsize=4)
def _find_text_parameters(text: str) -> Mapping[str, Literal["text", "texts"]]:
    types: dict[str, set[Any]] = {}
    for model in _merge_configured(text).values():
        for schema in (model.schema, *model.modes.values()):
            for name, info in schema.model_fields.items():
                types.setdefault(name, set()).update(_plain_types(info.annotation))
    kinds: dict[str, Literal["text", "texts"]] = {}
    for name, found in types.items():
        if found <= {str, NoneType}:
            kinds[name] = "text"
        elif found <= {str, NoneType, list}:
            kinds[name] = "texts"
    return MappingProxyType(kinds)


def _plain_types(annotation: Any) -> set[Any]:
    """Return the types of an annotation, with ``list`` for a list of texts."""
    from pydantic import HttpUrl  # not at DAG parse time

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {type(value) for value in arguments}
    if origin is Annotated:
        return _plain_types(arguments[0])
    if origin is list:
        return {list} if _plain_types(arguments[0]) == {str} else {list, object}
    if arguments:
        return set().union(*map(_plain_types, arguments))
    return {str if annotation is HttpUrl else annotation}


@lru_cache(maxsize=4)
def _merge_configured(text: str) -> Mapping[str, Model]:
    if not text.strip():
        return MODELS
    from airflow_provider_flux.bfl.catalog.custom import read_models  # only if there are any

    return MappingProxyType({**MODELS, **read_models(text)})
