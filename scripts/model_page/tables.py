"""The table of the parameters of a model, from its schema and what the catalog says of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from airflow_provider_flux.bfl.catalog import MediaField, Model
from airflow_provider_flux.bfl.catalog.model import MIB

#: Model parameters that are arguments of FluxGenerateOperator; all others go into ``parameters``.
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
#: What many models take, told below what is their own.
COMMON = ("safety_tolerance", "output_format", "seed", "user", "webhook_url", "webhook_secret")
_JSON_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}


def parameter_table(model: Model, schema: type[BaseModel]) -> str:
    """Return the table of the parameters of a schema."""
    described = schema.model_json_schema()["properties"]
    lines = [
        "| parameter | type | required | default | values | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for name in ordered(model, schema):
        spec, media, info = described[name], model.media_fields.get(name), schema.model_fields[name]
        cells = (
            f"**`{name}`**" if name in ARGUMENTS else f"`{name}`",
            media_type(media, spec) if media else json_type(spec),
            "yes" if info.is_required() else "no",
            default_of(model, name, spec, is_required=info.is_required()),
            media_limits(media, spec) if media else limits(spec),
            str(info.description),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ordered(model: Model, schema: type[BaseModel]) -> list[str]:
    """Return the parameters as they are shown: mode, prompt, inputs, what is the model's own, what is common."""
    names = list(schema.model_fields)
    first = [name for name in ("mode", "prompt", *model.media_fields) if name in names]
    last = [name for name in COMMON if name in names]
    return [*first, *(name for name in names if name not in {*first, *last}), *last]


def literal(value: Any) -> str:
    """Return a value as Python text, with double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def json_type(spec: Mapping[str, Any]) -> str:
    """Return the type of a field in words."""
    kinds = [
        "URL" if one.get("format") == "uri" else _JSON_TYPES[one["type"]]
        for one in ways(spec)
        if not _is_auto(one)
    ]
    return " or ".join(dict.fromkeys(kinds))


def limits(spec: Mapping[str, Any]) -> str:
    """Return what values a field takes, in words."""
    return ", or ".join(text for one in ways(spec) if (text := _limits_of(one)))


def _limits_of(one: Mapping[str, Any]) -> str:
    if "const" in one:
        return f"`{one['const']}`"
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "maxLength" in one:
        return f"{one.get('minLength', 0)} to {one['maxLength']} characters"
    least, most, step = one.get("minimum"), one.get("maximum"), one.get("multipleOf")
    parts = (
        []
        if least is None
        else [f"{least:g} to {most:g}" if most is not None else f"{least:g} or more"]
    )
    return ", ".join([*parts, *([f"multiples of {step:g}"] if step else [])])


def ways(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the ways to write a field's value; null is left out."""
    for one in spec.get("anyOf", [spec]):
        if one.get("type") != "null":
            yield one


def _is_auto(one: Mapping[str, Any]) -> bool:
    return bool(one.get("const") == "auto")


def media_type(media: MediaField, spec: Mapping[str, Any]) -> str:
    """Return what an input is, and whether it may be several."""
    is_list = any(one.get("type") == "array" for one in ways(spec))
    return f"{media.kind.value}, or a list" if is_list else media.kind.value


def media_limits(media: MediaField, spec: Mapping[str, Any]) -> str:
    """Return how an input is sent, and its limits, in words."""
    parts = ["URL, or sent as base64" if media.takes_url else "sent as base64"]
    most = next((one["maxItems"] for one in ways(spec) if "maxItems" in one), None)
    parts += [f"up to {most}"] if most else []
    parts.append(f"at most {media.max_bytes // MIB} MiB")
    parts += [f"at most {media.max_pixels / 1e6:.3g} million pixels"] if media.max_pixels else []
    parts += [f"at least {media.min_side}x{media.min_side} pixels"] if media.min_side else []
    parts += [f"at most {media.max_seconds:g} s"] if media.max_seconds else []
    parts += [f"same size as `{media.same_size_as}`"] if media.same_size_as else []
    return "; ".join(parts)


def default_of(model: Model, name: str, spec: Mapping[str, Any], *, is_required: bool) -> str:
    """Return the default of a field: what the operator sends, or what the service takes."""
    if is_required:
        return ""
    value = model.sent_defaults.get(name, spec.get("default"))
    if value is None:
        return "none"
    if value == "":
        return "empty"
    if any(
        value < one["minimum"]
        for one in ways(spec)
        if "minimum" in one and not isinstance(value, str)
    ):
        return "chosen by BFL"
    return f"`{value}`"
