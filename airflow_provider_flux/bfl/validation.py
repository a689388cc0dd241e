"""The faults of the parameters of a request, in words: field, value, allowed range."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from airflow_provider_flux.bfl.catalog import Model, did_you_mean
from airflow_provider_flux.bfl.catalog.model import fields_of
from airflow_provider_flux.bfl.inputs import describe_input
from airflow_provider_flux.bfl.output_size import find_size_problems
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.bfl.storable import find_unstorable

_SECRET_FIELDS = frozenset({"webhook_secret"})
#: Its texts are in no message, because ``hide_prompt`` keeps them out of logs and manifests.
_PROMPT = "prompt"
_MAX_VALUE_CHARACTERS = 60
_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTED = re.compile(r"'([^']*)'")


def find_problems(
    model: Model, parameters: Mapping[str, Any], *, unresolved: Collection[str] = ()
) -> list[str]:
    """Return the faults of the parameters.

    :param model: the model, whose schema decides.
    :param parameters: by the service's own names.
    :param unresolved: fields whose value is not known yet (a template, an XComArg). They are not
        checked.
    :return: one sentence for each field.
    """
    broken = find_text_problems(parameters)
    if broken:
        return list(broken.values())
    if unstorable := find_unstorable(parameters):
        return unstorable
    schema = model.schema_for(parameters)
    is_mode_open = bool(model.modes) and schema is model.schema
    known = model.fields if is_mode_open else fields_of(schema)
    problems = [
        _unknown(model, name, known, parameters) for name in parameters if name not in known
    ]
    fields = schema.model_fields  # pydantic looks it up each time
    checked = {name: _text(value) for name, value in parameters.items() if name in fields}
    missing_prompt = []
    if not is_mode_open and "prompt" in known:
        missing_prompt = _missing_prompt(model, schema, parameters, unresolved)
    try:
        schema.model_validate(checked, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        if missing_prompt:  # its sentence says more than the rule of the schema
            details = [detail for detail in details if detail["loc"][:1] != ("prompt",)]
        problems += _describe_all(model, schema, details, unresolved)
    problems += find_size_problems(model, checked)
    problems += missing_prompt
    if (
        parameters.get("webhook_secret")
        and not parameters.get("webhook_url")
        and "webhook_url" not in unresolved
    ):
        problems.append("webhook_secret is set but webhook_url is not. Set both, or neither")
    return problems


def find_text_problems(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for each parameter with a text that no store and no database accepts.

    :param parameters: by the service's own names.
    """
    if all(map(_is_plain, parameters)) and all(map(_is_plain, parameters.values())):
        return {}  # as for nearly all of a hundred thousand rows
    return {
        name: f"{ascii(name)[1:-1]} contains a lone surrogate, which is not a character"
        for name, value in parameters.items()
        if _has_surrogate([name, value])
    }


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, or a text of ASCII."""
    return value.isascii() if isinstance(value, str) else isinstance(value, (int, float))


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return not value.isascii() and bool(_SURROGATE.search(value))
    if isinstance(value, Mapping):
        return any(map(_has_surrogate, [*value.keys(), *value.values()]))
    return isinstance(value, (list, tuple)) and any(map(_has_surrogate, value))


def parse_rendered(model: Model, name: str, value: Any, parameters: Mapping[str, Any]) -> Any:
    """Return the value that a rendered template stands for. Templates render to text.

    :param model: the model, whose schema has the type.
    :param name: field of the value.
    :param value: the rendered value.
    :param parameters: all parameters, because ``mode`` decides on the schema.
    :return: the value in the type of the field, ``None`` for ``"None"`` and for an empty input, or
        the unchanged value if it fits no type, which :func:`find_problems` then reports.
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
    if _accepts(field_type, text):  # native rendering turned a text into a number
        return text
    if not text:
        return None
    try:
        return field_type.validate_python(text)
    except ValidationError:
        return _number(text, otherwise=value)


def _unknown(model: Model, name: str, known: Collection[str], parameters: Mapping[str, Any]) -> str:
    mode = parameters.get("mode")
    subject = (
        f"{model.name} with mode {mode!r}"
        if isinstance(mode, str) and mode in model.modes
        else model.name
    )
    hint = did_you_mean(name, known)
    return f"{name} is not a parameter of {subject}.{hint} Known: {', '.join(known)}"


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
    return [f"prompt is missing or empty. Describe what the {model.output} should show"]


def _describe_all(
    model: Model, schema: type[BaseModel], details: list[ErrorDetails], unresolved: Collection[str]
) -> list[str]:
    """Return one sentence for each field, which joins the faults of all members of a union."""
    by_field: dict[str, list[ErrorDetails]] = {}
    for detail in details:
        by_field.setdefault(str(detail["loc"][0]) if detail["loc"] else "", []).append(detail)
    problems = []
    for name, faults in by_field.items():
        if name in unresolved or (not name and unresolved):
            continue
        if not name:
            problems += [_rule(detail) for detail in faults]
        elif faults[0]["type"] != "missing":
            problems.append(_describe(model, schema, name, faults))
        else:
            problems.append(f"{name} is missing: {schema.model_fields[name].description}")
    return problems


def _describe(model: Model, schema: type[BaseModel], name: str, faults: list[ErrorDetails]) -> str:
    value = faults[0].get("input")
    is_prompt_text = name == _PROMPT and isinstance(value, Collection)
    if name in _SECRET_FIELDS or name in model.media_fields or is_prompt_text:
        shown = f"<{type(value).__name__}>"
    else:
        text = repr(value)
        shown = (
            redact(text)
            if len(text) <= _MAX_VALUE_CHARACTERS
            else f"{redact(text)[:_MAX_VALUE_CHARACTERS]}..."
        )
    rules = " or ".join(dict.fromkeys(_rule(detail) for detail in faults))
    return f"{name}={shown}: {rules}{_describe_allowed(schema, name)}{_suggest(faults)}"


def _suggest(faults: list[ErrorDetails]) -> str:
    """Suggest one of the values of a list, ``jpeg`` for ``jpg``, for example."""
    value = faults[0].get("input")
    expected = [str(detail.get("ctx", {}).get("expected", "")) for detail in faults]
    choices = [choice for text in expected for choice in _QUOTED.findall(text)]
    return f".{hint}" if isinstance(value, str) and (hint := did_you_mean(value, choices)) else ""


def _rule(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Value error, ")


def _describe_allowed(schema: type[BaseModel], name: str) -> str:
    """Return the whole range of a number, because the failed rule names only one end."""
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
        [f"{least:.15g} or more" if most is None else f"{least:.15g} to {most:.15g}"]
        if least is not None
        else []
    )
    bounds += [f"{most:.15g} or less"] if least is None and most is not None else []
    bounds += [f"multiples of {step:.15g}"] if step else []
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
    """Return the number in a text, so that the fault is its range and not its type."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return otherwise


@lru_cache(maxsize=1024)
def _type_of(schema: type[BaseModel], name: str) -> TypeAdapter[Any]:
    """Return the type of a field. Building one takes longer than checking a whole request."""
    return TypeAdapter(schema.model_fields[name].rebuild_annotation())


def _accepts(field_type: TypeAdapter[Any], value: Any) -> bool:
    try:
        field_type.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _text(value: Any) -> Any:
    """Replace each input by a text, because the service receives base64 or a URL."""
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    return describe_input(value)
