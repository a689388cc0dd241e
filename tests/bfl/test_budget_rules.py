"""The budgets of a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_flux.bfl.budget_rules import MAX_BUDGETS, BudgetRule, read_budget_rules
from airflow_provider_flux.bfl.errors import FluxConfigurationError


def read(value: Any, **extra: Any) -> tuple[BudgetRule, ...]:
    extras = {"account_path": "/shared", "budgets": value, **extra}
    return read_budget_rules(extras, "connection 'flux_default'")


def test_budgets_are_a_list_or_its_json_text() -> None:
    budgets = [{"credits": 5, "per": "day", "tag": "ads", "timezone": "Europe/Berlin"}]
    expected = (BudgetRule(5, "day", None, "ads", "Europe/Berlin"),)
    assert read(budgets) == read(json.dumps(budgets)) == expected
    assert str(expected[0]) == "5 credits per day (Europe/Berlin) of tag 'ads'"
    assert read(None) == read("") == read([]) == ()


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (5, r"budgets\[0\]=5 in connection 'flux_default' is not an object"),
        ({"credits": -1, "per": "day"}, r"budgets\[0\]\.credits=-1 .* not a number of 0 or more"),
        ({"credits": float("nan"), "per": "day"}, r"credits=nan"),
        ({"credits": 5}, r"per=None .* unknown\. Use day, week or month"),
        ({"credits": 5, "per": "day", "dag": 7}, r"dag=7 .* is not a text"),
        ({"credits": 5, "per": "day", "dag": "a", "tag": "b"}, "both dag and tag. Write two"),
        ({"credits": 5, "per": "day", "timezone": "Mars"}, r"timezone='Mars' .* 'Europe/Berlin'"),
        ({"credits": 5, "per": "day", "timezone": "../x"}, r"timezone='../x' "),
        ({"credits": 5, "per": "day", "limit": 7}, "unknown field 'limit'. Use credits, per"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_the_way_out(budget: Any, message: str) -> None:
    with pytest.raises(FluxConfigurationError, match=message):
        read([budget])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[", "is not valid JSON. Write a list"),
        ({"credits": 5}, "is not a list"),
        ([{"credits": 5, "per": "day"}] * (MAX_BUDGETS + 1), "33 entries, more than 32"),
    ],
)
def test_anything_but_a_short_list_is_refused(value: Any, message: str) -> None:
    with pytest.raises(FluxConfigurationError, match=message):
        read(value)


def test_budgets_without_account_path_are_refused() -> None:
    with pytest.raises(FluxConfigurationError, match="need account_path, the folder in which"):
        read([{"credits": 5, "per": "day"}], account_path=None)
