"""JSON schemas of pydantic and FastAPI, normalized so that they can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NUMBERS = frozenset({"integer", "number"})
_TEXT = frozenset({"string"})
_ANY = frozenset({"integer", "number", "string", "boolean", "array", "object"})
#: Limits of a value besides its type, each with the types that it applies to.
LIMITS: Mapping[str, frozenset[str]] = {
    "minimum": NUMBERS,
    "maximum": NUMBERS,
    "exclusiveMinimum": NUMBERS,
    "exclusiveMaximum": NUMBERS,
    "multipleOf": NUMBERS,
    "minLength": _TEXT,
    "maxLength": _TEXT,
    "pattern": _TEXT,
    "format": _TEXT,
    "enum": _ANY,
}
_WIDEST = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength"), min),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength"), max),
}
_ANNOTATIONS = frozenset({"default", "title", "description", "example", "examples"})


@dataclass(frozen=True)
class Fact:
    """The facts of one field of a request body.

    :param type: the JSON types it may have, without ``null``.
    :param nullable: whether null is accepted.
    :param required: whether the field must be present.
    :param default: ``None`` if there is none, too.
    :param limits: JSON Schema keywords besides the type, ``enum`` as a frozenset.
    """

    type: frozenset[str]
    nullable: bool = False
    required: bool = False
    default: Any = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    def differences(self, other: Fact) -> list[str]:
        """Return the names of the facts in which another field differs."""
        names = [
            name
            for name in ("type", "nullable", "required")
            if getattr(self, name) != getattr(other, name)
        ]
        if not _same(self.default, other.default):
            names.append("default")
        limits = self.limits.keys() | other.limits.keys()
        return names + sorted(
            name for name in limits if not _same(self.limits.get(name), other.limits.get(name))
        )


def facts_of(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Fact]:
    """Return the facts of an object schema, by field.

    :param defs: the schemas that a ``$ref`` names by its last part.
    """
    schema = resolved(schema, defs)
    required = frozenset(schema.get("required", ()))
    return {
        name: _fact(part, defs, name in required)
        for name, part in schema.get("properties", {}).items()
    }


def is_strict(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> bool:
    """Whether an object schema refuses unknown fields."""
    return resolved(schema, defs).get("additionalProperties") is False


def resolved(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow the ``$ref`` of a schema, and keep the keywords next to it."""
    while "$ref" in schema:
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        schema = {**defs[schema["$ref"].rpartition("/")[2]], **beside}
    return schema


def alternatives(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the members of a union, without ``anyOf`` and ``$ref``."""
    schema = resolved(schema, defs)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            if word == "allOf" and len(schema[word]) > 1:
                raise NotImplementedError("allOf of several schemas")
            beside = {
                name: value for name, value in schema.items() if name not in {word, *_ANNOTATIONS}
            }
            for part in schema[word]:
                yield from alternatives({**beside, **resolved(part, defs)}, defs)
            return
    kinds = schema.get("type") or ["null" if schema.get("const", 0) is None else "any"]
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        yield {**schema, "type": kind}


def _fact(schema: Mapping[str, Any], defs: Mapping[str, Any], required: bool) -> Fact:
    parts = list(alternatives(schema, defs))
    values = [_normal(part) for part in parts if part["type"] != "null"]
    limits = {limit: merged for limit in LIMITS if (merged := _merged(limit, values)) is not None}
    return Fact(
        type=frozenset(part["type"] for part in values),
        nullable=len(values) < len(parts),
        required=required,
        default=resolved(schema, defs).get("default"),
        limits=limits,
    )


def _normal(part: Mapping[str, Any]) -> dict[str, Any]:
    """Normalize one member: a constant becomes an enum, and integers have inclusive bounds."""
    normal = dict(part)
    if "const" in normal:
        normal["enum"] = [normal.pop("const")]
    if normal["type"] == "integer":
        for exclusive, inclusive, step in (
            ("exclusiveMinimum", "minimum", 1),
            ("exclusiveMaximum", "maximum", -1),
        ):
            if exclusive in normal:
                normal[inclusive] = normal.pop(exclusive) + step
    return normal


def _merged(limit: str, parts: Sequence[Mapping[str, Any]]) -> Any:
    """Return the widest limit of all members that it applies to, or none."""
    concerned = [part for part in parts if part["type"] in LIMITS[limit]]
    if limit == "enum":
        return _merged_choice(concerned)
    values: list[Any] = [part.get(limit) for part in concerned]
    if not values or None in values:
        return None
    if limit in _WIDEST:
        return _WIDEST[limit](values)
    return values[0] if all(value == values[0] for value in values) else None


def _merged_choice(parts: Sequence[Mapping[str, Any]]) -> frozenset[Any] | None:
    """Return the choices of the types that allow no other value."""
    free = {part["type"] for part in parts if "enum" not in part}
    choices = frozenset(
        value for part in parts if part["type"] not in free for value in part["enum"]
    )
    return choices or None


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
