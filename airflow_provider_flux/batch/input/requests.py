"""Checked requests from the values of rows, and the requests of their fallbacks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.batch.input.mapping import (
    SECRET_PROBLEM,
    SPECIAL_NAMES,
    WEBHOOK_PROBLEM,
    InputMapping,
    is_webhook,
)
from airflow_provider_flux.bfl.catalog import MediaKind, Model, did_you_mean, get_model, route_of
from airflow_provider_flux.bfl.catalog.model import fields_of
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.bfl.stable_seed import with_stable_seed
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.suffixes import choose_format
from airflow_provider_flux.media.source import find_source_problems

_MAX_LISTED_NAMES = 5
_MAX_NAME_CHARACTERS = 60


class RequestBuilder:
    """Builds and checks the requests of the rows of one batch.

    :param mapping: mapping of the batch, already checked.
    """

    def __init__(self, mapping: InputMapping) -> None:
        self._mapping = mapping
        self._models = known_models()
        self._fields: dict[str, frozenset[str]] = {}
        media = {name for model in self._models.values() for name in model.media_fields}
        #: An empty text in these parameters is probably a mistake, so the check of the model sees
        #: it.
        self._checked_when_empty = media | {"prompt"}

    def has_value(self, name: str, value: Any) -> bool:
        """Return whether a row sets a parameter. Empty text does not, so that the default counts.

        :param name: parameter or special name.
        :param value: value of the row as plain JSON.
        """
        if value is None or not isinstance(value, str) or value.strip():
            return value is not None
        return name not in SPECIAL_NAMES and (
            not self._mapping.validate or name in self._checked_when_empty
        )

    def build(
        self, model: Any, parameters: Mapping[str, Any], own: Collection[str]
    ) -> GenerationRequest:
        """Build the request of a row. Its inputs stay the text that names them.

        :param model: name of the model.
        :param parameters: values by parameter, none of them ``None``.
        :param own: names of the parameters that the row itself has, and not the defaults.
        :raises FluxRequestError: if anything is wrong. The message lists all problems.
        """
        if "webhook_secret" in parameters:
            raise FluxRequestError(SECRET_PROBLEM)
        if any(map(is_webhook, own)):
            raise FluxRequestError(WEBHOOK_PROBLEM)
        if not self._mapping.validate:
            return build_request(model, parameters, validate=False, models=self._models)

        catalog_model = get_model(model, self._models)
        unknown: list[str] = []
        if self._mapping.columns is None:
            unknown = [name for name in own if name not in self._fields_of(catalog_model)]
        problems = [_describe_unknown(catalog_model, unknown)] if unknown else []
        known = {
            name: _parse_list(catalog_model, name, value)
            for name, value in parameters.items()
            if name not in unknown
        }
        known |= choose_format(self._mapping.output_path, catalog_model, known)
        try:
            request = build_request(model, known, rendered=known.keys(), models=self._models)
        except FluxRequestError as error:
            raise FluxRequestError("; ".join([*problems, error.message])) from None

        problems += find_source_problems(catalog_model.media, request.parameters)
        if problems:
            raise FluxRequestError("; ".join(problems))
        return request

    def build_fallback(
        self, request: GenerationRequest, prompt: Any, model: Any
    ) -> GenerationRequest | None:
        """Build the request to submit once if a row is moderated or its generation fails.

        It has the parameters of the first request, without those that another model does not know.

        :param request: first request of the row.
        :param prompt: prompt of the fallback, ``None`` for the same.
        :param model: model of the fallback, ``None`` for the same.
        :return: the request, ``None`` if it is the same as the first one.
        :raises FluxRequestError: if it is not valid, or if its model would ignore an input.
        """
        if prompt is None and model is None:
            return None
        name = request.model if model is None else model
        parameters = dict(request.parameters)
        if prompt is not None:
            parameters["prompt"] = prompt
        try:
            if name != request.model:
                parameters = self._select_known(name, parameters, request)
            fallback = self.build(name, parameters, ())
        except FluxRequestError as error:
            raise FluxRequestError(f"fallback: {error.message}") from None

        is_same = fallback.model == request.model and fallback.parameters == request.parameters
        return None if is_same else fallback

    def seed_fallback(self, fallback: GenerationRequest, key: str) -> GenerationRequest:
        """Return the request of a fallback with a stable seed of its own, if its model takes one.

        :param fallback: the request, without a seed.
        :param key: key from which the seed follows.
        """
        model = fallback.catalog_model
        takes_seed = model is None or "seed" in model.schema_for(fallback.parameters).model_fields
        return with_stable_seed(fallback, key) if takes_seed else fallback

    def _select_known(
        self, model: Any, parameters: dict[str, Any], request: GenerationRequest
    ) -> dict[str, Any]:
        """Return the parameters that another model knows."""
        if self._mapping.validate:
            catalog_model: Model | None = get_model(model, self._models)
        else:
            catalog_model = self._models.get(model)
        if catalog_model is None:
            return parameters

        known: Collection[str]
        if parameters.get("mode") in catalog_model.modes:
            known = fields_of(catalog_model.schema_for(parameters))
        else:
            known = self._fields_of(catalog_model)
        lost = [name for name in request.media_fields if name in parameters and name not in known]
        if lost:
            raise FluxRequestError(
                f"{model} does not take {', '.join(lost)}, so BFL would bill an image without it"
            )
        return {name: value for name, value in parameters.items() if name in known}

    def _fields_of(self, model: Model) -> frozenset[str]:
        if model.name not in self._fields:
            self._fields[model.name] = frozenset(model.fields)
        return self._fields[model.name]


def restore_request(
    model: str, parameters: Mapping[str, Any], *, validate: bool, models: Mapping[str, Model]
) -> GenerationRequest:
    """Rebuild the request of a row from its model and body, without checking it again.

    :param model: name of the model, from the ``request`` or the ``fallback`` of a valid row.
    :param parameters: body of that request.
    :param validate: the ``validate`` of the mapping that the row was built with.
    :param models: catalog that the row was built with.
    :return: an equal request, without its warnings.
    """
    return GenerationRequest(
        model, route_of(model, models), parameters, models.get(model), is_checked=validate
    )


def _describe_unknown(model: Model, names: list[str]) -> str:
    """Return the problem of names that are not parameters of a model."""
    shortened = [
        name if len(name) <= _MAX_NAME_CHARACTERS else f"{name[:_MAX_NAME_CHARACTERS]}..."
        for name in names[:_MAX_LISTED_NAMES]
    ]
    listed = ", ".join(map(repr, shortened))
    if len(names) > _MAX_LISTED_NAMES:
        listed += f" and {len(names) - _MAX_LISTED_NAMES} more"

    advice = "Set columns={parameter: column} to choose the columns to read"
    if len(names) > 1:
        return f"{listed} are not parameters of {model.name}. {advice}"
    hint = did_you_mean(names[0][:_MAX_NAME_CHARACTERS], model.fields)
    return f"{listed} is not a parameter of {model.name}.{hint} {advice}"


def _parse_list(model: Model, name: str, value: Any) -> Any:
    """Parse several inputs from JSON text, which is all that a CSV cell can hold.

    No URI, path or base64 text begins with a bracket.
    """
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    media_field = model.media_fields.get(name)
    if media_field is None or media_field.kind is MediaKind.MASK:
        return value
    try:
        return to_json_value(json.loads(value))
    except NotJsonError as error:
        raise FluxRequestError(f"{name} {error}") from None
    except (ValueError, RecursionError):
        return value
