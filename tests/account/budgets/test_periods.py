"""Periods of budgets, and the tasks that a budget limits."""

from __future__ import annotations

from datetime import datetime

import pytest

from airflow_provider_flux.account.budgets.periods import (
    Spender,
    find_caps,
    find_known_caps,
    find_period,
)
from airflow_provider_flux.bfl.budget_rules import BudgetRule, Per


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("per", "zone", "begins", "ends"),
    [
        ("day", "UTC", "2026-03-29T00:00+00:00", "2026-03-30T00:00+00:00"),
        ("day", "Europe/Berlin", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("week", "UTC", "2026-03-23T00:00+00:00", "2026-03-30T00:00+00:00"),
        ("month", "America/New_York", "2026-03-01T00:00-05:00", "2026-04-01T00:00-04:00"),
    ],
)
def test_a_period_begins_and_ends_at_midnight_of_its_time_zone(
    per: Per, zone: str, begins: str, ends: str
) -> None:
    """The Sunday on which Europe's clocks go forward has 23 hours."""
    begin, end = find_period(per, zone, epoch("2026-03-29T12:00+00:00"))
    assert (begin.timestamp(), end.timestamp()) == (epoch(begins), epoch(ends))


def test_each_period_has_a_counter_of_its_own() -> None:
    rule = BudgetRule(10, "day")
    keys = {
        find_caps([rule], Spender(), epoch(f"2026-12-{day}T23:59:59+00:00"))[0].key
        for day in (30, 31)
    }
    assert len(keys) == 2


def test_a_task_has_to_fit_into_the_budgets_of_the_key_of_its_dag_and_of_its_tags() -> None:
    rules = [
        BudgetRule(100, "day"),
        BudgetRule(20, "day", dag="ads"),
        BudgetRule(30, "day", dag="*"),
        BudgetRule(40, "week", tag="marketing"),
        BudgetRule(50, "week", tag="*"),
        BudgetRule(5, "day", dag="other"),
    ]
    spender = Spender("ads", "hero", {"marketing", "nightly"})
    found = {cap.key.split("|", 3)[3]: cap.limit for cap in find_caps(rules, spender, 0.0)}
    assert found == {"account": 100, "dag=ads": 20, "tag=marketing": 40, "tag=nightly": 50}


def test_a_command_outside_of_a_dag_is_held_by_the_budget_of_the_key_alone() -> None:
    rules = [BudgetRule(100, "day"), BudgetRule(20, "day", dag="*"), BudgetRule(9, "day", tag="*")]
    [cap] = find_caps(rules, Spender(), 0.0)
    assert cap.limit == 100


def test_all_budgets_are_listed_whatever_task_they_limit() -> None:
    rules = [BudgetRule(100, "day"), BudgetRule(20, "day", dag="*"), BudgetRule(9, "day", tag="x")]
    counters = ["day|UTC|1969-12-31|dag=ads", "nonsense", "day|UTC|1970-01-01|tag=y"]
    scopes = [cap.key.split("|", 3)[3] for cap in find_known_caps(rules, counters, 0.0)]
    assert scopes == ["account", "dag=ads", "tag=x"]
