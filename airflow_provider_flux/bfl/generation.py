"""A checked request, ready to be paid for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from airflow_provider_flux.bfl.catalog import Model, get_model, nearest, route_of
from airflow_provider_flux.bfl.errors import FluxRequestError

_SECRET_FIELDS = frozenset({"webhook_secret"})
_SHOWN_VALUE = 60


@dataclass(frozen=True)
class GenerationRequest:
    """One image to generate.

    :param model: name of the model.
    :param path: route of the model below the API host.
    :param parameters: the JSON body. Not part of the repr: it may hold image bytes and a secret.
    """

    model: str
    path: str
    parameters: Mapping[str, Any] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over model and parameters: equal for equal images wanted.

        Where the webhook goes does not change the image, so it does not count.
        """
        wanted = {k: v for k, v in self.parameters.items() if k not in {"webhook_url", "webhook_secret"}}
        canonical = json.dumps([self.model, wanted], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def expected_cost(self) -> float | None:
        """Credits by the price list, ``None`` for a model that is not in the catalog."""
        try:
            model = get_model(self.model)
        except FluxRequestError:
            return None
        images_in = sum(1 for name in model.image_fields if self.parameters.get(name))
        return model.price.credits(self.parameters, images_in)


def build_request(
    model: str, parameters: Mapping[str, Any], *, validate: bool = True, rendered: Collection[str] = ()
) -> GenerationRequest:
    """Check parameters and complete them with the documented defaults of the model.

    :param parameters: by the service's own names; ``None`` means "not given".
    :param validate: ``False`` sends a model or parameter this version does not know.
    :param rendered: names of parameters that came out of a template. Templates render to text, so
        for these ``"1024"`` counts as 1024 and ``"None"`` as not given.
    :raises FluxRequestError: naming each field, its value and the allowed range.
    """
    if not validate:
        given = {name: value for name, value in parameters.items() if value is not None}
        return GenerationRequest(model, route_of(model), given)
    entry = get_model(model)
    typed = {name: _from_text(entry, name, value) if name in rendered else value for name, value in parameters.items()}
    given = {name: value for name, value in typed.items() if value is not None}
    complete = {**entry.sent_defaults, **given}
    problems = find_problems(entry, complete)
    if problems:
        raise FluxRequestError(f"{model}: {'; '.join(problems)}")
    return GenerationRequest(model, entry.path, complete)


def find_problems(model: Model, parameters: Mapping[str, Any], *, unresolved: Collection[str] = ()) -> list[str]:
    """Return what is wrong with the parameters, one sentence for each field.

    :param unresolved: fields whose value is not known yet (a template, an XComArg); nothing is said
        of them.
    """
    known = model.schema.model_fields
    problems = [
        f"{name} is not a parameter of {model.name}.{nearest(name, list(known))} Known: {', '.join(known)}"
        for name in parameters
        if name not in known
    ]
    try:
        model.schema.model_validate(dict(parameters), strict=True)
    except ValidationError as error:
        problems += [
            _describe(model, detail)
            for detail in error.errors(include_url=False)
            if _field_of(detail) not in unresolved and detail["type"] != "missing"
        ]
    problems += _missing_prompt(model, parameters, unresolved)
    if parameters.get("webhook_secret") and not parameters.get("webhook_url") and "webhook_url" not in unresolved:
        problems.append("webhook_secret is set but webhook_url is not: set both, or neither")
    return problems


def _missing_prompt(model: Model, parameters: Mapping[str, Any], unresolved: Collection[str]) -> list[str]:
    prompt = parameters.get("prompt")
    if "prompt" in unresolved or not isinstance(prompt, (str, type(None))):
        return []
    has_image = any(parameters.get(name) or name in unresolved for name in model.image_fields)
    if (prompt and prompt.strip()) or (has_image and not model.prompt_required):
        return []
    return ["prompt is missing or empty: say what the image should show"]


def _field_of(detail: ErrorDetails) -> str:
    return str(detail["loc"][0]) if detail["loc"] else "request"


def _describe(model: Model, detail: ErrorDetails) -> str:
    name = _field_of(detail)
    value = detail.get("input")
    if name in _SECRET_FIELDS or name in model.image_fields:
        shown = f"<{type(value).__name__}>"
    else:
        text = repr(value)
        shown = text if len(text) <= _SHOWN_VALUE else f"{text[:_SHOWN_VALUE]}..."
    rule = detail["msg"].removeprefix("Value error, ")
    return f"{name}={shown}: {rule}{_allowed(model, name)}"


def _allowed(model: Model, name: str) -> str:
    """Return the whole range of a number, of which the failed rule names only one end."""
    limits = {
        key: value
        for rule in _rules_of(model, name)
        for key in ("ge", "le", "multiple_of")
        if (value := getattr(rule, key, None)) is not None
    }
    if not limits:
        return ""
    text = f"{limits['ge']} to {limits['le']}" if "le" in limits else f"{limits['ge']} or more"
    return f" (allowed: {text}{', multiples of ' + str(limits['multiple_of']) if 'multiple_of' in limits else ''})"


def _rules_of(model: Model, name: str) -> list[Any]:
    """Return the constraints of a field, also those inside ``X | None``."""
    field_info = model.schema.model_fields[name]
    parts = getattr(field_info.annotation, "__args__", ())
    rules = [*field_info.metadata, *(rule for part in parts for rule in getattr(part, "__metadata__", ()))]
    return [nested for rule in rules for nested in (rule, *getattr(rule, "metadata", ()))]


def _from_text(model: Model, name: str, value: Any) -> Any:
    """Return the value a rendered template stands for; text that fits no type is left to be refused."""
    field_info = model.schema.model_fields.get(name)
    if field_info is None or value is None:
        return value
    text = str(value).strip()
    if text == "None":
        return None
    field_type: TypeAdapter[Any] = TypeAdapter(field_info.rebuild_annotation())
    if _accepts(field_type, value):
        return value
    if _accepts(field_type, text):  # native rendering made a number of what should be text
        return text
    if not text:
        return None
    try:
        return field_type.validate_python(text)
    except ValidationError:
        return _number(text, otherwise=value)


def _number(text: str, *, otherwise: Any) -> Any:
    """Return the number a text is, so that it is refused for its range and not for being text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return otherwise


def _accepts(field_type: TypeAdapter[Any], value: Any) -> bool:
    try:
        field_type.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
