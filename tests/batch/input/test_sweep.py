"""Sweeps: the combinations of each row, and the keys that say which."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.sweep import MAX_COMBINATIONS, WHOLE_ROW, Sweep, slug_of
from airflow_provider_flux.bfl.errors import FluxRequestError

_VALUES = st.text("aAé _-./😀漢", max_size=6).filter(str.strip) | st.text(
    st.characters(codec="utf-8"), min_size=1, max_size=40
).filter(str.strip)


def suffixes(matrix: Any) -> list[str]:
    return [combination.suffix for combination in Sweep.parse(matrix).combinations()]


def test_the_last_axis_changes_fastest() -> None:
    assert suffixes({"style": ["oil", "ink"], "seed": [1, 2]}) == [
        *("-oil-1", "-oil-2", "-ink-1", "-ink-2")
    ]


def test_a_batch_without_axes_has_each_row_once() -> None:
    assert list(Sweep.parse(None).combinations()) == [WHOLE_ROW]


@pytest.mark.parametrize(
    ("value", "axis", "slug"),
    [
        ("oil", "style", "oil"),
        ("oil painting", "style", "oil_painting"),
        ("flux-pro-1.1", "model", "flux_pro_1.1"),
        (1.0, "seed", "1"),
        (True, "x", "true"),
        ("Öl", "style", "Öl"),
        ("ที่", "style", "ที่"),
    ],
)
def test_a_plain_value_is_readable_in_a_key(value: Any, axis: str, slug: str) -> None:
    assert slug_of(value, axis) == slug


@given(_VALUES)
def test_a_part_of_a_key_has_no_hyphen_and_is_short(value: str) -> None:
    slug = slug_of(value, "style")
    assert "-" not in slug
    assert 0 < len(slug) <= 32


@given(st.lists(_VALUES, min_size=1, max_size=8, unique=True), st.randoms())
def test_the_keys_of_a_sweep_are_distinct_and_depend_on_no_order_and_no_other_value(
    values: list[str], random: Any
) -> None:
    values = list({unicodedata.normalize("NFC", value): value for value in values}.values())
    slugs = [slug_of(value, "style") for value in values]
    assert len(set(slugs)) == len(values)
    assert suffixes({"style": values}) == [f"-{slug}" for slug in slugs]
    some = random.sample(values, random.randint(1, len(values)))
    assert set(suffixes({"style": some})) <= set(suffixes({"style": values}))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ({}, "must be a dict of lists"),
        ([("seed", [1])], "must be a dict of lists"),
        ({"seed": []}, "a list of one value or more"),
        ({"seed": 7}, "a list of one value or more"),
        ({"style": "oil"}, "a list of one value or more"),
        ({"seed": [1, "1"]}, "has '1' twice"),
        ({"seed": [1, Decimal(1)]}, "twice, also as text"),
        ({"style": ["oil", None]}, "has an empty value"),
        ({"style": [b"oil"]}, "has a value that is bytes"),
        ({"": [1]}, "no name"),
        ({7: [1]}, "no name"),
        ({"a": list(range(40)), "b": list(range(40))}, "has 1600 combinations"),
        ({"a": list(range(MAX_COMBINATIONS + 1))}, "may have 1000"),
    ],
)
def test_a_matrix_that_cannot_be_meant_is_refused(matrix: Any, message: str) -> None:
    with pytest.raises(FluxRequestError) as caught:
        Sweep.parse(matrix)
    assert message in caught.value.message
