"""The argument ``checks``, as it is read from a DAG."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.checks.check import Check, parse_checks, text_columns

ALL = [
    "not_blank",
    "not_duplicate",
    {"text": "label"},
    {"min_size": [1024, 768]},
    {"ratio": "16:9"},
    "my_pkg.checks.brand_colour",
]


def test_every_documented_check_is_read_in_its_order() -> None:
    assert parse_checks(ALL) == (
        Check("not_blank", "not_blank"),
        Check("not_duplicate", "not_duplicate"),
        Check("text", "text=label", column="label"),
        Check("min_size", "min_size=1024x768", numbers=(1024, 768)),
        Check("ratio", "ratio=16:9", numbers=(16, 9)),
        Check("function", "my_pkg.checks.brand_colour", path="my_pkg.checks.brand_colour"),
    )


def test_checks_reach_their_process_as_json() -> None:
    checks = parse_checks(ALL)
    sent = json.loads(json.dumps([check.as_dict() for check in checks]))
    assert tuple(map(Check.from_dict, sent)) == checks


@pytest.mark.parametrize("value", [None, [], ()])
def test_no_checks_are_no_checks(value: Any) -> None:
    assert parse_checks(value) == ()


def test_the_columns_of_texts_are_named_once() -> None:
    assert text_columns(parse_checks([{"text": "a"}, {"text": "b"}, {"text": "a"}])) == ("a", "b")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("not_blank", r"checks='not_blank' must be a list"),
        (["blank"], r"checks\[0\]='blank' is no check\. Known: \"not_blank\""),
        (["not_blank", "text"], r"checks\[1\]='text' needs a value\. Write \{'text': \"label\"\}"),
        (["os.system('x')"], r"is no check"),
        (["a..b"], r"is no check"),
        (["{{ params.check }}"], r"is no check"),
        ([{"text": ""}], r"text='' must be the name of a column"),
        ([{"text": 3}], r"text=3 must be the name of a column"),
        (
            [{"min_size": 1024}],
            r"min_size=1024 must be width and height in pixels, from 1 to 65535",
        ),
        ([{"min_size": [0, 5]}], r"min_size=\[0, 5\]"),
        ([{"min_size": [True, 5]}], r"min_size=\[True, 5\]"),
        ([{"min_size": ["1024", 5]}], r"min_size=\['1024', 5\]"),
        ([{"ratio": "16/9"}], r"ratio='16/9' must be width and height, for example \"16:9\""),
        ([{"ratio": "0:9"}], r"ratio='0:9'"),
        ([{"ratio": "\u0661:\u0662"}], r"ratio="),
        ([{"blank": 1}], r"checks\[0\]: 'blank' is no check with a value"),
        ([{"text": "a", "ratio": "1:1"}], r"must have one member"),
        ([{}], r"must have one member"),
        ([print], r"is a function\. Write its import path"),
        ([3], r"checks\[0\]=3 is int"),
    ],
)
def test_a_wrong_check_is_named_with_its_value_and_what_is_allowed(
    value: Any, message: str
) -> None:
    with pytest.raises(FluxRequestError, match=message):
        parse_checks(value)
