"""What is wrong with the parameters of a request, in words: field, value, allowed range."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from airflow_provider_flux.bfl.catalog import Model, did_you_mean
from airflow_provider_flux.bfl.catalog.model import fields_of
from airflow_provider_flux.bfl.inputs import describe_input
from airflow_provider_flux.bfl.redaction import redact

_SECRET_FIELDS = frozenset({"webhook_secret"})
_SHOWN_VALUE = 60


def find_problems(
    model: Model, parameters: Mapping[str, Any], *, unresolved: Collection[str] = ()
) -> list[str]:
    """Return what is wrong with the parameters, one sentence for each field.

    :param unresolved: fields whose value is not known yet (a template, an XComArg); nothing is said
        of them.
    """
    schema = model.schema_for(parameters)
    mode_is_open = bool(model.modes) and schema is model.schema
    known = model.fields if mode_is_open else fields_of(schema)
    problems = [
        _unknown(model, name, known, parameters) for name in parameters if name not in known
    ]
    checked = {
        name: _text(value) for name, value in parameters.items() if name in schema.model_fields
    }
    try:
        schema.model_validate(checked, strict=True)
    except ValidationError as error:
        problems += _describe_all(model, schema, error.errors(include_url=False), unresolved)
    if not mode_is_open and "prompt" in known:
        problems += _missing_prompt(model, schema, parameters, unresolved)
    if (
        parameters.get("webhook_secret")
        and not parameters.get("webhook_url")
        and "webhook_url" not in unresolved
    ):
        problems.append("webhook_secret is set but webhook_url is not: set both, or neither")
    return problems


def parse_rendered(model: Model, name: str, value: Any, parameters: Mapping[str, Any]) -> Any:
    """Return the value a rendered template stands for; text that fits no type is left to be refused.

    :param parameters: all parameters, of which ``mode`` decides on the schema.
    """
    schema = model.schema_for(parameters)
    field_info = schema.model_fields.get(name)
    if field_info is None or value is None or not isinstance(value, (str, int, float)):
        return value
    text = str(value).strip()
    if text == "None" or (not text and name in model.media_fields):
        return None
    field_type = _type_of(schema, name)
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


def _unknown(model: Model, name: str, known: Collection[str], parameters: Mapping[str, Any]) -> str:
    mode = parameters.get("mode")
    where = (
        f"{model.name} with mode {mode!r}"
        if isinstance(mode, str) and mode in model.modes
        else model.name
    )
    return f"{name} is not a parameter of {where}.{did_you_mean(name, known)} Known: {', '.join(known)}"


def _missing_prompt(
    model: Model,
    schema: type[BaseModel],
    parameters: Mapping[str, Any],
    unresolved: Collection[str],
) -> list[str]:
    prompt = parameters.get("prompt")
    if "prompt" in unresolved or not isinstance(prompt, (str, type(None))):
        return []
    if prompt and prompt.strip():
        return []
    media = [name for name in model.media_fields if name in schema.model_fields]
    has_media = any(
        parameters.get(name) or name in unresolved or schema.model_fields[name].is_required()
        for name in media
    )
    if has_media and not model.prompt_required:
        return []
    return [f"prompt is missing or empty: say what the {model.output} should show"]


def _describe_all(
    model: Model, schema: type[BaseModel], details: list[ErrorDetails], unresolved: Collection[str]
) -> list[str]:
    """Return a sentence for each field; the ways a union can fail are told in one."""
    by_field: dict[str, list[ErrorDetails]] = {}
    for detail in details:
        by_field.setdefault(str(detail["loc"][0]) if detail["loc"] else "", []).append(detail)
    problems = []
    for name, found in by_field.items():
        if name in unresolved or (not name and unresolved):
            continue
        if not name:
            problems += [_rule(detail) for detail in found]
        elif found[0]["type"] != "missing":
            problems.append(_describe(model, schema, name, found))
        elif name != "prompt":
            problems.append(f"{name} is missing: {schema.model_fields[name].description}")
    return problems


def _describe(model: Model, schema: type[BaseModel], name: str, found: list[ErrorDetails]) -> str:
    value = found[0].get("input")
    if name in _SECRET_FIELDS or name in model.media_fields:
        shown = f"<{type(value).__name__}>"
    else:
        text = repr(value)
        shown = redact(text) if len(text) <= _SHOWN_VALUE else f"{redact(text)[:_SHOWN_VALUE]}..."
    rules = " or ".join(dict.fromkeys(_rule(detail) for detail in found))
    return f"{name}={shown}: {rules}{_allowed(schema, name)}"


def _rule(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Value error, ")


def _allowed(schema: type[BaseModel], name: str) -> str:
    """Return the whole range of a number, of which the failed rule names only one end."""
    limits = {
        key: value
        for rule in _rules_of(schema, name)
        for key in ("ge", "le", "multiple_of")
        if (value := getattr(rule, key, None)) is not None
    }
    if not limits:
        return ""
    least, most, step = (limits.get(key) for key in ("ge", "le", "multiple_of"))
    bounds = (
        [f"{least:g} or more" if most is None else f"{least:g} to {most:g}"]
        if least is not None
        else []
    )
    bounds += [f"{most:g} or less"] if least is None and most is not None else []
    bounds += [f"multiples of {step:g}"] if step else []
    return f" (allowed: {', '.join(bounds)})"


def _rules_of(schema: type[BaseModel], name: str) -> list[Any]:
    """Return the constraints of a field, also those inside ``X | None``."""
    field_info = schema.model_fields[name]
    parts = getattr(field_info.annotation, "__args__", ())
    rules = [
        *field_info.metadata,
        *(rule for part in parts for rule in getattr(part, "__metadata__", ())),
    ]
    return [nested for rule in rules for nested in (rule, *getattr(rule, "metadata", ()))]


def _number(text: str, *, otherwise: Any) -> Any:
    """Return the number a text is, so that it is refused for its range and not for being text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return otherwise


@lru_cache(maxsize=1024)
def _type_of(schema: type[BaseModel], name: str) -> TypeAdapter[Any]:
    """Return the type of a field; to build one takes longer than to check all the fields of a request."""
    return TypeAdapter(schema.model_fields[name].rebuild_annotation())


def _accepts(field_type: TypeAdapter[Any], value: Any) -> bool:
    try:
        field_type.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _text(value: Any) -> Any:
    """Return a value with a text in place of each input, which is what the service is sent."""
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    return describe_input(value)
