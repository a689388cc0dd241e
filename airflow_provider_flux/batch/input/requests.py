"""From the values of a row to a checked request, and to the one that is tried when it comes to nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_flux.batch.input.mapping import NO_SECRET, SPECIAL_NAMES, InputMapping
from airflow_provider_flux.bfl.catalog import MediaKind, Model, did_you_mean, get_model, route_of
from airflow_provider_flux.bfl.catalog.model import fields_of
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.media.source import find_source_problems

_SHOWN_NAMES = 5
_LONGEST_NAME = 60


class RequestBuilder:
    """Builds the requests of the rows of one batch."""

    def __init__(self, layout: InputMapping) -> None:
        self._layout = layout
        self._models = known_models()
        self._fields: dict[str, frozenset[str]] = {}
        media = {name for entry in self._models.values() for name in entry.media_fields}
        #: Of these the model says what empty text means: it may be a mistake that would be paid for.
        self._may_be_empty = media | {"prompt"}

    def is_given(self, name: str, value: Any) -> bool:
        """Whether a value of a row is one. Empty text is none, so that the default counts."""
        if value is None or not isinstance(value, str) or value.strip():
            return value is not None
        return name not in SPECIAL_NAMES and (
            not self._layout.validate or name in self._may_be_empty
        )

    def build(
        self, model: Any, given: Mapping[str, Any], own: Collection[str]
    ) -> GenerationRequest:
        """Return the request, with its inputs still the text that names them.

        :param given: parameters, none of them ``None``.
        :param own: names of those that the row itself has.
        :raises FluxRequestError: naming all that is wrong with it.
        """
        if "webhook_secret" in given:
            raise FluxRequestError(NO_SECRET)
        if not self._layout.validate:
            return build_request(model, given, validate=False, models=self._models)
        entry = get_model(model, self._models)
        known = self._fields_of(entry)
        unknown = (
            [] if self._layout.columns is not None else [name for name in own if name not in known]
        )
        problems = [_tell_unknown(entry, unknown)] if unknown else []
        typed = {
            name: _as_list(entry, name, value)
            for name, value in given.items()
            if name not in unknown
        }
        try:
            request = build_request(model, typed, rendered=typed.keys(), models=self._models)
        except FluxRequestError as error:
            raise FluxRequestError("; ".join([*problems, error.message])) from None
        problems += find_source_problems(entry.media, request.parameters)
        if problems:
            raise FluxRequestError("; ".join(problems))
        return request

    def build_fallback(
        self, first: GenerationRequest, prompt: Any, model: Any
    ) -> GenerationRequest | None:
        """Return what to try once when the row is moderated or its generation fails; ``None`` if it is the same.

        It has the parameters of the first request, without those that another model does not know.

        :param prompt: another prompt, or ``None``.
        :param model: another model, or ``None``.
        :raises FluxRequestError: naming all that is wrong with it, or which input the other model would leave out.
        """
        if prompt is None and model is None:
            return None
        name = first.model if model is None else model
        given = dict(first.parameters) if prompt is None else {**first.parameters, "prompt": prompt}
        try:
            if name != first.model:
                given = self._known_to(name, given, first)
            request = self.build(name, given, ())
        except FluxRequestError as error:
            raise FluxRequestError(f"fallback: {error.message}") from None
        same = request.model == first.model and request.parameters == first.parameters
        return None if same else request

    def _known_to(
        self, model: Any, given: dict[str, Any], first: GenerationRequest
    ) -> dict[str, Any]:
        entry = get_model(model, self._models) if self._layout.validate else self._models.get(model)
        if entry is None:
            return given
        names = (
            fields_of(entry.schema_for(given))
            if given.get("mode") in entry.modes
            else self._fields_of(entry)
        )
        lost = [name for name in first.media_fields if name in given and name not in names]
        if lost:
            raise FluxRequestError(
                f"{model} does not take {', '.join(lost)}: it would be paid for as something else"
            )
        return {name: value for name, value in given.items() if name in names}

    def _fields_of(self, entry: Model) -> frozenset[str]:
        if entry.name not in self._fields:
            self._fields[entry.name] = frozenset(entry.fields)
        return self._fields[entry.name]


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


def _tell_unknown(model: Model, names: list[str]) -> str:
    shown = [
        repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...") for name in names
    ]
    listed = ", ".join(shown[:_SHOWN_NAMES]) + (
        f" and {len(names) - _SHOWN_NAMES} more" if shown[_SHOWN_NAMES:] else ""
    )
    verb = "is not a parameter" if len(names) == 1 else "are not parameters"
    hint = did_you_mean(names[0][:_LONGEST_NAME], model.fields) if len(names) == 1 else ""
    return f"{listed} {verb} of {model.name}.{hint} Give columns={{parameter: column}} to choose what is read"


def _as_list(model: Model, name: str, value: Any) -> Any:
    """Return several inputs that CSV can only give as JSON text; no URI, path or base64 begins like a list."""
    kind = (
        model.media_fields.get(name)
        if isinstance(value, str) and value.lstrip().startswith("[")
        else None
    )
    if kind is None or kind.kind is MediaKind.MASK:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
