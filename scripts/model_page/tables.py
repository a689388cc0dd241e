"""The table of the parameters of a model, from its schema and its input fields in the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from airflow_provider_flux.bfl.catalog import MediaField, Model
from airflow_provider_flux.bfl.catalog.model import MIB

#: Model parameters that are arguments of FluxGenerateOperator. All others go into ``parameters``.
ARGUMENTS = (
    "prompt",
    "width",
    "height",
    "prompt_upsampling",
    "seed",
    "safety_tolerance",
    "output_format",
    "webhook_url",
    "webhook_secret",
)
#: Parameters that many models share, listed below the parameters of the model itself.
COMMON = ("safety_tolerance", "output_format", "seed", "user", "webhook_url", "webhook_secret")
_JSON_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}


def render_parameter_table(model: Model, schema: type[BaseModel]) -> str:
    """Return the table of the parameters of a schema.

    :param model: a model of the catalog.
    :param schema: its schema, or the schema of one of its modes.
    """
    described = schema.model_json_schema()["properties"]
    lines = [
        "| parameter | type | required | default | values | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for name in order_parameters(model, schema):
        spec, media, info = described[name], model.media_fields.get(name), schema.model_fields[name]
        cells = (
            f"**`{name}`**" if name in ARGUMENTS else f"`{name}`",
            describe_media(media, spec) if media else describe_type(spec),
            "yes" if info.is_required() else "no",
            describe_default(model, name, spec, is_required=info.is_required()),
            describe_media_limits(media, spec) if media else describe_limits(spec),
            str(info.description),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def order_parameters(model: Model, schema: type[BaseModel]) -> list[str]:
    """Return the parameters in the order of the table: mode, prompt, inputs, own ones, common ones.

    :param model: a model of the catalog.
    :param schema: its schema, or the schema of one of its modes.
    """
    names = list(schema.model_fields)
    first = [name for name in ("mode", "prompt", *model.media_fields) if name in names]
    last = [name for name in COMMON if name in names]
    return [*first, *(name for name in names if name not in {*first, *last}), *last]


def python_literal(value: Any) -> str:
    """Return a value as a Python literal, with double quotes.

    :param value: a text, a number or a bool.
    """
    return f'"{value}"' if isinstance(value, str) else repr(value)


def describe_type(spec: Mapping[str, Any]) -> str:
    """Return the type of a field in words.

    :param spec: the JSON schema of the field.
    """
    types = [
        "URL" if member.get("format") == "uri" else _JSON_TYPES[member["type"]]
        for member in alternatives(spec)
        if not _is_auto(member)
    ]
    return " or ".join(dict.fromkeys(types))


def describe_limits(spec: Mapping[str, Any]) -> str:
    """Return the range of a field in words.

    :param spec: the JSON schema of the field.
    """
    return ", or ".join(text for member in alternatives(spec) if (text := _limits_of(member)))


def _limits_of(member: Mapping[str, Any]) -> str:
    if "const" in member:
        return f"`{member['const']}`"
    if "enum" in member:
        return ", ".join(f"`{value}`" for value in member["enum"])
    if "maxLength" in member:
        return f"{member.get('minLength', 0)} to {member['maxLength']} characters"
    least, most, step = member.get("minimum"), member.get("maximum"), member.get("multipleOf")
    parts = (
        []
        if least is None
        else [f"{least:.15g} to {most:.15g}" if most is not None else f"{least:.15g} or more"]
    )
    return ", ".join([*parts, *([f"multiples of {step:g}"] if step else [])])


def alternatives(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the members of a union, without null.

    :param spec: the JSON schema of the field.
    """
    for member in spec.get("anyOf", [spec]):
        if member.get("type") != "null":
            yield member


def _is_auto(member: Mapping[str, Any]) -> bool:
    return bool(member.get("const") == "auto")


def describe_media(media: MediaField, spec: Mapping[str, Any]) -> str:
    """Return the kind of an input, and whether a list is possible.

    :param media: the input field in the catalog.
    :param spec: the JSON schema of the field.
    """
    is_list = any(member.get("type") == "array" for member in alternatives(spec))
    return f"{media.kind.value}, or a list" if is_list else media.kind.value


def describe_media_limits(media: MediaField, spec: Mapping[str, Any]) -> str:
    """Return the form in which an input is sent, and its limits, in words.

    :param media: the input field in the catalog.
    :param spec: the JSON schema of the field.
    """
    parts = ["URL, or sent as base64" if media.takes_url else "sent as base64"]
    most = next((member["maxItems"] for member in alternatives(spec) if "maxItems" in member), None)
    parts += [f"up to {most}"] if most else []
    parts.append(f"at most {media.max_bytes // MIB} MiB")
    parts += [f"at most {media.max_pixels / 1e6:.3g} million pixels"] if media.max_pixels else []
    parts += [f"at least {media.min_side}x{media.min_side} pixels"] if media.min_side else []
    parts += [f"at most {media.max_seconds:g} s"] if media.max_seconds else []
    parts += [f"same size as `{media.same_size_as}`"] if media.same_size_as else []
    return "; ".join(parts)


def describe_default(model: Model, name: str, spec: Mapping[str, Any], *, is_required: bool) -> str:
    """Return the default of a field: the one that the operator sends, or the one of the service.

    :param model: a model of the catalog.
    :param name: name of the field.
    :param spec: the JSON schema of the field.
    :param is_required: whether the field has no default.
    """
    if is_required:
        return ""
    value = model.sent_defaults.get(name, spec.get("default"))
    if value is None:
        return "none"
    if value == "":
        return "empty"
    if any(
        value < member["minimum"]
        for member in alternatives(spec)
        if "minimum" in member and not isinstance(value, str)
    ):
        return "chosen by BFL"
    return f"`{value}`"
