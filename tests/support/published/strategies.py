"""Requests drawn from the published table, never from our schemas.

:func:`valid_request` draws requests that the service accepts, :func:`mutated_request` requests that
it refuses, and :func:`near_request` requests near a limit, on either side.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from hypothesis import note
from hypothesis import strategies as st

from tests.support.published.mutations import mutations
from tests.support.published.routes import PublishedField, Route
from tests.support.published.schema_facts import Fact

_LETTERS = string.ascii_letters
_PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
#: A host that never resolves.
_HOOK = "https://hooks.invalid/"
#: Sides without a published maximum stay within the 4 megapixels that the documentation allows.
_MAX_SIDE = 2000
_MIN_VIDEO_SECONDS = 5
_MAX_UNTIMED_FRAMES = 2
#: A value or two of every JSON type, and text that looks like another one.
_SIMPLE: list[Any] = [None, True, 0, 1, 1.0, 1.5, "", "  ", "1", "true", "x"]
_ODD: list[Any] = [*_SIMPLE, [], ["x"], [1, "x"], [[1, "x"]], [True, "x"], [["x"]], {}, {"x": 1}]

Overrides: TypeAlias = Mapping[str, st.SearchStrategy[Any]]
_AS_PUBLISHED: Overrides = MappingProxyType({})


@st.composite
def valid_request(
    draw: st.DrawFn, route: Route, overrides: Overrides = _AS_PUBLISHED
) -> dict[str, Any]:
    """Draw a request that the service accepts: every required field, and some of the others.

    :param overrides: strategies for some fields, instead of all published values.
    """
    names = [name for name, fact in route.facts.items() if fact.required or draw(st.booleans())]
    request = {
        name: draw(overrides[name] if name in overrides else valid_value(route.fields[name]))
        for name in names
    }
    if _needs_duration(request):
        request["duration"] = draw(
            st.integers(_MIN_VIDEO_SECONDS, int(route.facts["duration"].limits["maximum"]))
        )
    return request


@st.composite
def mutated_request(
    draw: st.DrawFn, route: Route, overrides: Overrides = _AS_PUBLISHED
) -> dict[str, Any]:
    """Draw a request with one fault, which the published schema refuses.

    :param overrides: as for a valid request. The fault may be in these fields, too.
    """
    request = draw(valid_request(route, overrides))
    mutation = draw(st.sampled_from(mutations(route)))
    note(f"{route}: {mutation}")
    return draw(mutation.apply(request))


@st.composite
def near_request(draw: st.DrawFn, route: Route) -> dict[str, Any]:
    """Draw a request with one field near a limit, or of a similar type."""
    request = draw(valid_request(route))
    name = draw(st.sampled_from(list(route.fields)))
    request[name] = draw(st.sampled_from(near_values(route.facts[name])))
    return request


def as_read(route: Route, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as the service reads it, without the blanks that it strips."""
    trimmed = {name for name, published in route.fields.items() if published.text.get("trimmed")}
    return {
        name: value.strip() if name in trimmed and isinstance(value, str) else value
        for name, value in request.items()
    }


def valid_value(published: PublishedField) -> st.SearchStrategy[Any]:
    """Return the values of one field that the service accepts."""
    kinds = [_of_kind(kind, published) for kind in sorted(published.fact.type - {"array"})]
    forms = [_form(form, *published.text["count"]) for form in published.forms]
    null = [st.none()] if published.fact.nullable else []
    return st.one_of(*kinds, *forms, *null)


def near_values(fact: Fact) -> list[Any]:
    """Return the choices of a field, values near its limits, and some of every JSON type."""
    limits = fact.limits
    bounds = [limits[name] for name in ("minimum", "maximum") if name in limits]
    sizes = [limits[name] for name in ("minLength", "maxLength") if name in limits]
    numbers = [
        value
        for bound in bounds
        for value in (bound - 1, bound, bound + 1, float(bound), str(bound))
    ]
    if step := limits.get("multipleOf"):
        numbers += [bounds[0] + step // 2, bounds[0] + step]
    texts = ["x" * size for bound in sizes for size in (bound - 1, bound, bound + 1)]
    choices = [
        text
        for value in sorted(limits.get("enum", ()), key=str)
        for text in (value, str(value).upper())
    ]
    return [*numbers, *texts, *choices, *_ODD]


def _of_kind(kind: str, published: PublishedField) -> st.SearchStrategy[Any]:
    limits, ratio = published.fact.limits, published.text.get("ratio")
    if ratio:
        return _bounded_ratio() if ratio == "bounded" else _any_ratio()
    python_type = int if kind in {"integer", "number"} else str
    if choices := sorted(
        value for value in limits.get("enum", ()) if isinstance(value, python_type)
    ):
        return st.sampled_from(choices)
    if kind == "string":
        return _text(published)
    if kind == "boolean":
        return st.booleans()
    return _number(kind, limits)


def _number(kind: str, limits: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    low, high, step = limits.get("minimum"), limits.get("maximum"), limits.get("multipleOf", 1)
    if low is not None and high is None:
        high = _MAX_SIDE
    whole = st.integers(
        None if low is None else math.ceil(low / step),
        None if high is None else math.floor(high / step),
    ).map(lambda count: count * step)
    return (
        whole
        if kind == "integer"
        else whole | st.floats(low, high, allow_nan=False, allow_infinity=False)
    )


def _text(published: PublishedField) -> st.SearchStrategy[str]:
    limits = published.fact.limits
    if limits.get("format") == "uri":
        paths = st.text(_LETTERS + string.digits + "-_/", max_size=30)
        return paths.map(_HOOK.__add__) | st.just(_HOOK.ljust(limits["maxLength"], "x"))
    least, most = limits.get("minLength", 0), limits.get("maxLength")
    plain = _PLAIN.filter(
        lambda text: len(text.strip() if published.text.get("trimmed") else text) >= least
    )
    return plain if most is None else plain | st.sampled_from(["x" * least, "x" * most])


def _any_ratio() -> st.SearchStrategy[str]:
    return st.builds("{}:{}".format, st.integers(1, 99), st.integers(1, 99))


def _bounded_ratio() -> st.SearchStrategy[str]:
    """Return ratios between 21:9 and 9:21, both included."""
    sides = st.tuples(st.integers(1, 99), st.integers(1, 99)).filter(
        lambda side: max(side) * 9 <= min(side) * 21
    )
    return sides.map("{0[0]}:{0[1]}".format) | st.sampled_from(["21:9", "9:21"])


def _form(form: str, least: int, most: int) -> st.SearchStrategy[list[Any]]:
    seconds = st.integers(0, _MIN_VIDEO_SECONDS) | st.floats(0, _MIN_VIDEO_SECONDS)
    if form == "strings":
        return st.lists(_PLAIN, min_size=least, max_size=most)
    if form == "pair":
        return st.tuples(seconds, _PLAIN).map(list)
    return _pairs(seconds, least, most)


@st.composite
def _pairs(draw: st.DrawFn, seconds: st.SearchStrategy[float], least: int, most: int) -> list[Any]:
    """Draw images with times, in the order of time."""
    times = draw(st.lists(seconds, min_size=least, max_size=most, unique=True))
    return [[second, draw(_PLAIN)] for second in sorted(times)]


def _needs_duration(request: Mapping[str, Any]) -> bool:
    """Whether a request has so many keyframes without times that it needs a duration."""
    frames = request.get("keyframes")
    if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
        return False
    return len(frames) > _MAX_UNTIMED_FRAMES and request.get("duration", "auto") == "auto"
