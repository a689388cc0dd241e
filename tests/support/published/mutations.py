"""Requests with one fault, of every kind in the published table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.support.published.routes import PublishedField, Route

_WORD = st.from_regex(r"[a-z]{3,8}", fullmatch=True)
_FAR = 1000

#: Arrays that have none of the shapes of a field.
_BAD_ARRAYS: list[Any] = [
    [7],
    [None],
    [[1.5]],
    [[1.5, "x", "x"]],
    [["x"]],
    [["x", 1.5]],
    [{}],
    ["x", {}],
]


@dataclass(frozen=True)
class Mutation:
    """A change to one field that the published schema refuses.

    :param fact: the fact that is broken.
    :param values: values to set. ``None`` removes the field.
    """

    field: str
    fact: str
    values: st.SearchStrategy[Any] | None

    def apply(self, request: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        """Return the request with this change, for all of its values."""
        rest = {name: value for name, value in request.items() if name != self.field}
        if self.values is None:
            return st.just(rest)
        return self.values.map(lambda value: {**rest, self.field: value})

    def __str__(self) -> str:
        return f"{self.field} breaks {self.fact}"


@cache
def mutations(route: Route) -> list[Mutation]:
    """Return every way to break a request of a route."""
    faults = [
        Mutation(name, fact, values)
        for name, published in route.fields.items()
        for fact, values in _broken(published)
    ]
    if route.strict:
        unknown = ("x_unknown", "webhook", "negative_prompt")
        faults += [Mutation(name, "additionalProperties", st.just("x")) for name in unknown]
    return faults


def _broken(published: PublishedField) -> Iterator[tuple[str, st.SearchStrategy[Any] | None]]:
    """Yield each fact of a field with values that break it."""
    fact = published.fact
    if fact.required:
        yield "required", None
    if not fact.nullable:
        yield "nullable", st.none()
    yield "type", st.sampled_from([{}, {"x": 1}] if published.forms else [{}, {"x": 1}, [], ["x"]])
    if not fact.type & {"integer", "number"}:
        yield "type", st.integers(2, _FAR)
    if published.forms:
        yield "forms", st.sampled_from(_BAD_ARRAYS)
    for limit, value in fact.limits.items():
        values = _outside(limit, value, published)
        if values is not None:
            yield limit, values


def _outside(limit: str, value: Any, published: PublishedField) -> st.SearchStrategy[Any] | None:
    """Return values on the wrong side of a limit."""
    kinds, limits = published.fact.type, published.fact.limits
    whole = "number" not in kinds
    if limit == "minimum":
        return (
            st.integers(value - _FAR, value - 1)
            if whole
            else st.floats(value - _FAR, value, exclude_max=True)
        )
    if limit == "maximum":
        return (
            st.integers(value + 1, value + _FAR)
            if whole
            else st.floats(value, value + _FAR, exclude_min=True)
        )
    if limit == "multipleOf":
        return st.integers(limits["minimum"], limits["maximum"]).filter(
            lambda number: number % value
        )
    if limit == "minLength":
        return st.just("x" * (value - 1))
    if limit == "maxLength":
        start = "https://hooks.invalid/" if limits.get("format") == "uri" else ""
        return st.integers(value + 1, value + 40).map(lambda size: start.ljust(size, "x"))
    if limit == "enum":
        return _other_choice(kinds, value)
    return None  # a format is not checked by a JSON Schema


def _other_choice(kinds: frozenset[str], choices: frozenset[Any]) -> st.SearchStrategy[Any]:
    words = _WORD.filter(lambda word: word not in choices)
    if all(isinstance(choice, int) for choice in choices):
        return st.integers(2, _FAR).filter(lambda number: number not in choices) | words
    return words
