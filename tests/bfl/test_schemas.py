"""Our request schemas accept and refuse the same requests as the service."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from tests.bfl.test_published import every_route, schema_of
from tests.support.published.mutations import mutations
from tests.support.published.routes import Route, as_json_schema, routes
from tests.support.published.strategies import (
    as_read,
    mutated_request,
    near_request,
    near_values,
    valid_request,
)

some = settings(max_examples=40, deadline=None)
BY_NAME: Mapping[str, Route] = {route.name: route for route in routes()}


def is_accepted(route: Route, request: Mapping[str, Any], *, strict: bool) -> bool:
    """Whether our schema accepts a request.

    :param strict: as the operators check it before they pay; otherwise as the service reads it.
    """
    try:
        schema_of(route).model_validate(dict(request), strict=strict)
    except ValidationError:
        return False
    return True


@cache
def published_validator_of(route: Route) -> Draft202012Validator:
    """Return a validator for the published schema of a route."""
    return Draft202012Validator(as_json_schema(route))


@every_route
@some
@given(data=st.data())
def test_our_schema_accepts_every_request_that_is_valid_as_published(
    route: Route, data: st.DataObject
) -> None:
    request = data.draw(valid_request(route))
    published_validator_of(route).validate(request)
    schema_of(route).model_validate(request)
    schema_of(route).model_validate(request, strict=True)


@every_route
@some
@given(data=st.data())
def test_every_request_that_our_schema_accepts_is_valid_as_published(
    route: Route, data: st.DataObject
) -> None:
    request = data.draw(near_request(route))
    if is_accepted(route, request, strict=True):
        published_validator_of(route).validate(as_read(route, request))


@every_route
@some
@given(data=st.data())
def test_our_schema_refuses_a_request_with_one_fault(route: Route, data: st.DataObject) -> None:
    request = data.draw(mutated_request(route))
    assert not published_validator_of(route).is_valid(request)
    assert not is_accepted(route, request, strict=False)
    assert not is_accepted(route, request, strict=True)


@every_route
def test_our_schema_decides_as_published_near_the_limits_of_every_field(route: Route) -> None:
    for name, field in route.fields.items():
        in_words = bool(field.text) or field.fact.limits.get("format") == "uri"
        for value in near_values(field.fact):
            request = {**smallest(route), name: value}
            valid = published_validator_of(route).is_valid(as_read(route, request))
            assert valid or not is_accepted(route, request, strict=True), (
                f"{name}={value!r} is not valid as published"
            )
            assert not valid or in_words or is_accepted(route, request, strict=False), (
                f"{name}={value!r} is valid"
            )


@every_route
def test_the_mutations_break_every_published_fact(route: Route) -> None:
    """Checks the oracle: the mutations try every limit of the table."""
    limits = {
        (name, limit)
        for name, fact in route.facts.items()
        for limit in fact.limits
        if limit != "format"
    }
    required = {(name, "required") for name, fact in route.facts.items() if fact.required}
    assert limits | required <= {(mutation.field, mutation.fact) for mutation in mutations(route)}


@every_route
def test_our_schema_refuses_unknown_fields_exactly_if_the_service_does(route: Route) -> None:
    request = {**smallest(route), "not_a_field": 1}
    assert is_accepted(route, request, strict=False) is not route.strict
    assert published_validator_of(route).is_valid(request) is not route.strict


@every_route
def test_our_schema_needs_only_the_required_fields(route: Route) -> None:
    assert is_accepted(route, smallest(route), strict=True)
    assert published_validator_of(route).is_valid(smallest(route))


def smallest(route: Route) -> dict[str, Any]:
    """Return the request with only its required fields."""
    values = {"integer": 64, "string": "x"}
    return {
        name: next(iter(fact.limits.get("enum", ())), None)
        or values["string" if "string" in fact.type else "integer"]
        for name, fact in route.facts.items()
        if fact.required
    }


IMAGES = [f"image {n}" for n in range(11)]
TIMED = [[float(n), image] for n, image in enumerate(IMAGES)]
HOOKS = [None, "http://a.b:8080/c?d=e", "https://a.b"]
NO_HOOKS = ["a.b", "ftp://a.b", "https://", "x"]
#: What the document says in words only: route, field, values it takes, and values it refuses.
WORDS: list[tuple[str, str, list[Any], list[Any]]] = [
    ("flux-3-image", "images", ["x", IMAGES[:1], IMAGES[:10]], [[], IMAGES]),
    ("flux-3-image-klein", "images", ["x", IMAGES[:1], IMAGES[:10]], [[], IMAGES]),
    (
        "flux-3-video#i2v",
        "keyframes",
        ["x", IMAGES[:2], TIMED[:10], TIMED[3]],
        [[], IMAGES, TIMED, IMAGES[:3]],
    ),
    (
        "flux-3-video#i2v",
        "keyframes",
        [TIMED[:1], [[0, "x"], [3.5, "y"]]],
        [[[0, "x"], "y"], ["x", [3.5, "y"]]],
    ),
    ("flux-tools/video-edit-v1", "prompt", [" x ", f" {'x' * 4096} "], [" ", "\n\t"]),
    *[
        (
            name,
            "aspect_ratio",
            ["21:9", "9:21", "1:1", "16:10"],
            ["22:9", "9:22", "16x9", "16:0", "0:0", "wide", ""],
        )
        for name in ("flux-pro-1.1-ultra", "flux-pro-1.1-ultra-finetuned")
    ],
    *[
        (
            name,
            "aspect_ratio",
            [None, "21:9", "3:7", "1:4", "4:1"],
            ["16x9", "16:0", "-1:1", "wide", ""],
        )
        for name in ("flux-kontext-pro", "flux-kontext-max")
    ],
    *[
        (route.name, "webhook_url", HOOKS, NO_HOOKS)
        for route in routes()
        if "webhook_url" in route.fields
    ],
]


@pytest.mark.parametrize(("name", "field", "taken", "refused"), WORDS)
def test_our_schema_follows_the_rules_that_the_document_states_in_words(
    name: str, field: str, taken: list[Any], refused: list[Any]
) -> None:
    route = BY_NAME[name]
    for strict in (False, True):
        for value in taken:
            assert is_accepted(route, {**smallest(route), field: value}, strict=strict), value
        for value in refused:
            assert not is_accepted(route, {**smallest(route), field: value}, strict=strict), value


def test_many_keyframes_without_times_need_a_duration() -> None:
    route = BY_NAME["flux-3-video#i2v"]
    request = {**smallest(route), "keyframes": IMAGES[:3]}
    assert not is_accepted(route, {**request, "duration": "auto"}, strict=True)
    assert is_accepted(route, {**request, "duration": 5}, strict=True)
