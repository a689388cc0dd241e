"""The published facts about the routes of the service, and their JSON schemas.

The table next to this module is copied from the OpenAPI document of api.bfl.ai, October 2026, and
never from our code: it is the oracle for our schemas, the emulator and the requests that we accept.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.published.schema_facts import LIMITS, NUMBERS, Fact

_TABLE = Path(__file__).with_name("routes.toml")

#: The shapes an array may take, as JSON schemas.
_PAIR = {
    "type": "array",
    "prefixItems": [{"type": "number"}, {"type": "string"}],
    "minItems": 2,
    "maxItems": 2,
}
FORMS: Mapping[str, Mapping[str, Any]] = {
    "strings": {"type": "array", "items": {"type": "string"}},
    "pair": _PAIR,
    "pairs": {"type": "array", "items": _PAIR},
}


@dataclass(frozen=True)
class PublishedField:
    """A field of a request body.

    :param fact: its facts in the schema.
    :param forms: the shapes it may take as an array, by their names in :data:`FORMS`.
    :param text: rules that the document states only in words.
    """

    fact: Fact
    forms: tuple[str, ...] = ()
    text: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Route:
    """A generation route, or one mode of it.

    :param name: the model as the catalog names it, with ``#mode`` if the route has modes.
    :param path: the route below the API host.
    :param schema: name of the published schema.
    :param strict: whether unknown fields are refused.
    """

    name: str
    path: str
    schema: str
    strict: bool
    fields: Mapping[str, PublishedField]

    @property
    def model(self) -> str:
        """The name in the catalog."""
        return self.name.partition("#")[0]

    @property
    def mode(self) -> str | None:
        """The value of ``mode`` for this body. ``None`` if the route has no modes."""
        return self.name.partition("#")[2] or None

    @property
    def facts(self) -> dict[str, Fact]:
        """The facts of the fields by name."""
        return {name: published.fact for name, published in self.fields.items()}

    def __repr__(self) -> str:
        return self.name

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Let Hypothesis print no more than the name."""
        printer.text(self.name)


@cache
def routes() -> tuple[Route, ...]:
    """Return every published route, one for each of its modes."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return tuple(_route(name, entry, table) for name, entry in table["routes"].items())


def as_json_schema(route: Route) -> dict[str, Any]:
    """Return the published schema of a request body, as a JSON Schema of draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {name: _property(published) for name, published in route.fields.items()},
        "required": [name for name, fact in route.facts.items() if fact.required],
        "additionalProperties": not route.strict,
    }


def _route(name: str, entry: Mapping[str, Any], table: Mapping[str, Any]) -> Route:
    schema = table["schemas"][entry["schema"]]
    groups = [table["common"][group] for group in schema["uses"]]
    merged = {
        name: facts
        for group in [*groups, schema.get("fields", {})]
        for name, facts in group.items()
    }
    fields = {name: _field(facts) for name, facts in merged.items()}
    return Route(name, entry["path"], entry["schema"], schema["strict"], fields)


def _field(facts: Mapping[str, Any]) -> PublishedField:
    limits = dict(facts)
    kinds = limits.pop("type")
    forms, text = tuple(limits.pop("forms", ())), limits.pop("text", {})
    flags = {
        name: limits.pop(name) for name in ("nullable", "required", "default") if name in limits
    }
    if "enum" in limits:
        limits["enum"] = frozenset(limits["enum"])
    if unknown := limits.keys() - set(LIMITS):
        raise ValueError(f"unknown facts: {unknown}")
    fact = Fact(frozenset([kinds] if isinstance(kinds, str) else kinds), limits=limits, **flags)
    return PublishedField(fact, forms, text)


def _property(published: PublishedField) -> dict[str, Any]:
    fact = published.fact
    branches: list[Mapping[str, Any]] = [
        _branch(kind, fact) for kind in sorted(fact.type - {"array"})
    ]
    branches += [FORMS[form] for form in published.forms]
    if fact.nullable:
        branches.append({"type": "null"})
    schema = dict(branches[0]) if len(branches) == 1 else {"anyOf": branches}
    return schema if fact.default is None else {**schema, "default": fact.default}


def _branch(kind: str, fact: Fact) -> dict[str, Any]:
    """Return the schema of one type of a field, with the limits of that type."""
    branch: dict[str, Any] = {"type": kind}
    for limit, value in fact.limits.items():
        if limit == "enum":
            branch |= _choice(kind, value)
        elif kind in LIMITS[limit]:
            branch[limit] = value
    return branch


def _choice(kind: str, values: Iterable[Any]) -> dict[str, Any]:
    python_type = int if kind in NUMBERS else str
    chosen = sorted(value for value in values if isinstance(value, python_type))
    return {"enum": chosen} if chosen else {}
