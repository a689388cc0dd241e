"""Our schemas, the catalog and the emulator equal the published schemas, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.http.app import Emulator, create_app
from tests.support.published.routes import Route, as_json_schema, routes
from tests.support.published.schema_facts import Fact, alternatives, facts_of, is_strict, resolved

#: Intended differences: (route, field or "*" for the whole body, fact), each with its reason.
DIFFERENCES: Mapping[tuple[str, str, str], str] = {
    (
        "flux-tools/video-upscale-v1",
        "webhook_secret",
        "format",
    ): "it only makes a form hide the typed text",
}
#: POST routes of the service that generate nothing.
_UTILITY = {"/v1/delete_finetune"}

every_route = pytest.mark.parametrize("route", routes(), ids=str)
# The items of an array are a union of shapes. These fields are compared by their JSON types, and
# their values by the requests that are accepted.
_BY_TYPE_ONLY = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "enum", "pattern", "format"}
)

Body: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]


def schema_of(route: Route) -> type[BaseModel]:
    """Return our schema for a route, or for one mode of it."""
    model = MODELS[route.model]
    return model.modes[route.mode] if route.mode else model.schema


def our_body(route: Route) -> Body:
    """Return the JSON schema of our pydantic model, and its definitions."""
    schema = schema_of(route).model_json_schema()
    return schema, schema.get("$defs", {})


@cache
def emulated_document() -> dict[str, Any]:
    """Return the OpenAPI document of the emulator."""
    return create_app(Emulator(EmulatorConfig())).openapi()


def emulated_body(route: Route) -> Body:
    """Return the JSON schema of the body of an emulator route, and its components."""
    document = emulated_document()
    components = document["components"]["schemas"]
    operation = document["paths"][route.path]["post"]
    schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"], components)
    if route.mode is None:
        return schema, components
    assert schema["discriminator"]["propertyName"] == "mode"
    bodies = [
        body
        for body in alternatives(schema, components)
        if _modes_of(body, components) == {route.mode}
    ]
    assert len(bodies) == 1, f"bodies with mode {route.mode}"
    return bodies[0], components


def _modes_of(body: Mapping[str, Any], components: Mapping[str, Any]) -> set[Any]:
    fact = facts_of(body, components).get("mode", Fact(frozenset()))
    return set(fact.limits.get("enum", ()))


def differences(route: Route, body: Body) -> set[tuple[str, str, str]]:
    """Return the differences between a body and the published one."""
    schema, defs = body
    actual = facts_of(schema, defs)
    differing = {(name, "missing") for name in route.fields.keys() - actual.keys()}
    differing |= {(name, "unpublished") for name in actual.keys() - route.fields.keys()}
    for name in route.fields.keys() & actual.keys():
        differing |= {(name, fact) for fact in _differing(route, name, actual[name])}
    if is_strict(schema, defs) != route.strict:
        differing.add(("*", "additionalProperties"))
    return {(route.name, name, fact) for name, fact in differing}


def _differing(route: Route, name: str, actual: Fact) -> list[str]:
    published = route.fields[name]
    names = published.fact.differences(actual)
    return [fact for fact in names if not (published.forms and fact in _BY_TYPE_ONLY)]


@every_route
def test_our_schema_equals_the_published_schema(route: Route) -> None:
    assert differences(route, our_body(route)) <= DIFFERENCES.keys()


@every_route
def test_the_schema_of_the_emulator_equals_the_published_schema(route: Route) -> None:
    assert differences(route, emulated_body(route)) <= DIFFERENCES.keys()


@pytest.mark.parametrize("body", [our_body, emulated_body])
def test_every_documented_difference_from_the_published_schema_still_exists(body: Any) -> None:
    names = {name for name, _, _ in DIFFERENCES}
    actual = set().union(
        *(differences(route, body(route)) for route in routes() if route.name in names)
    )
    assert DIFFERENCES.keys() <= actual
    assert all(DIFFERENCES.values())


def test_the_catalog_has_the_published_routes() -> None:
    assert {name: model.path for name, model in MODELS.items()} == {
        route.model: route.path for route in routes()
    }


def test_the_catalog_has_the_published_modes() -> None:
    published = {(route.model, route.mode) for route in routes() if route.mode}
    assert {(name, mode) for name, model in MODELS.items() for mode in model.modes} == published


def test_the_emulator_has_the_published_routes() -> None:
    paths = {
        path for path, operations in emulated_document()["paths"].items() if "post" in operations
    }
    assert paths - _UTILITY == {route.path for route in routes()}


@every_route
def test_the_table_of_published_routes_survives_a_round_trip_through_json_schema(
    route: Route,
) -> None:
    """Checks the oracle: from the table to a JSON schema, and back to the same facts."""
    schema = as_json_schema(route)
    Draft202012Validator.check_schema(schema)
    assert facts_of(schema, {}) == route.facts
    assert is_strict(schema, {}) == route.strict


def test_equivalent_schemas_are_normalized_to_the_same_facts() -> None:
    defs = {"Format": {"type": "string", "enum": ["a", "b"]}}
    schema = {
        "properties": {
            "format": {"anyOf": [{"$ref": "#/$defs/Format"}, {"type": "null"}], "default": "a"},
            "only": {"const": "x", "type": "string"},
            "seconds": {
                "anyOf": [
                    {"const": "auto", "type": "string"},
                    {"type": "integer", "exclusiveMinimum": 4},
                ]
            },
            "loose": {
                "anyOf": [
                    {"type": "integer", "minimum": 1},
                    {"type": "integer", "minimum": 3, "maximum": 4},
                ]
            },
            "listed": {"type": ["number", "null"], "exclusiveMaximum": 1},
        },
        "required": ["only"],
    }
    assert facts_of(schema, defs) == {
        "format": Fact(
            frozenset({"string"}), True, default="a", limits={"enum": frozenset({"a", "b"})}
        ),
        "only": Fact(frozenset({"string"}), required=True, limits={"enum": frozenset({"x"})}),
        "seconds": Fact(
            frozenset({"integer", "string"}), limits={"minimum": 5, "enum": frozenset({"auto"})}
        ),
        "loose": Fact(frozenset({"integer"}), limits={"minimum": 1}),
        "listed": Fact(frozenset({"number"}), True, limits={"exclusiveMaximum": 1}),
    }
    assert Fact(frozenset({"integer"}), default=1).differences(
        Fact(frozenset({"boolean"}), default=True)
    ) == [
        "type",
        "default",
    ]
