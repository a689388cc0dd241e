"""Reconcile explains a balance by charges, per credit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_flux.account.readings import Reading
from airflow_provider_flux.accounting.charges import Charge
from airflow_provider_flux.accounting.reconcile.balance import (
    Reconciliation,
    Tolerances,
    reconcile_balance,
)
from airflow_provider_flux.accounting.submit_cost import NOT_CHARGED

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
CHARGE = Charge(
    dag_id="ads",
    run_id="r",
    task_id="hero",
    map_index=-1,
    key="a",
    model="flux-2-pro",
    submitted_at=NOON,
    credits=4.0,
    is_reported=True,
    outcome="landed",
    is_uncertain=False,
    request_id="id",
    claim="claim",
    opened_at=NOON,
    updated_at=NOON,
    held=4.0,
)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def reading(seconds: float, credits_: float) -> Reading:
    return Reading(
        credits=credits_,
        asked_at=at(seconds),
        answered_at=at(seconds + 0.1),
        source="command",
    )


def charge(seconds: float, outcome: str = "landed", credits_: float = 4.0) -> Charge:
    """A charge that was sent, answered a second later, and changed ten seconds later."""
    is_uncertain = outcome == "uncertain"
    return replace(
        CHARGE,
        outcome=outcome,
        is_uncertain=is_uncertain,
        opened_at=at(seconds),
        submitted_at=at(seconds if is_uncertain else seconds + 1),
        updated_at=at(seconds + 10),
        held=credits_,
        credits=0.0 if outcome in NOT_CHARGED else credits_,
    )


def figures(result: Reconciliation) -> dict[str, float]:
    names = ("spent", "explained", "uncertain", "unexplained", "added")
    return {name: value for name in names if (value := result.total(name))}


@pytest.mark.parametrize(
    ("charges", "balance", "expected"),
    [
        pytest.param((), 100, {}, id="nothing happened"),
        pytest.param(("landed",), 96, {"spent": 4, "explained": 4}, id="an image"),
        pytest.param(("lost",), 96, {"spent": 4, "explained": 4}, id="a lost image"),
        pytest.param(("moderated",), 100, {}, id="a refund"),
        pytest.param(("uncertain",), 100, {}, id="a lost answer, not charged"),
        pytest.param(("uncertain",), 96, {"spent": 4, "uncertain": 4}, id="charged"),
        pytest.param((), 96, {"spent": 4, "unexplained": 4}, id="somebody else"),
        pytest.param(
            ("landed", "uncertain"),
            89,
            {"spent": 11, "explained": 4, "uncertain": 4, "unexplained": 3},
            id="everything",
        ),
        pytest.param((), 150, {"spent": -50, "added": 50}, id="a top-up"),
        pytest.param(
            ("landed",), 146, {"spent": -46, "explained": 4, "added": 50}, id="a top-up amid work"
        ),
    ],
)
def test_the_change_of_a_balance_is_explained_per_credit(
    charges: tuple[str, ...], balance: float, expected: dict[str, float]
) -> None:
    readings = [reading(0, 100), reading(10_000, balance)]
    result = reconcile_balance(readings, [charge(1000, outcome) for outcome in charges])
    assert figures(result) == expected


@pytest.mark.parametrize("balance", [100, 96])
def test_a_submit_in_flight_at_a_reading_may_be_on_either_side_of_it(balance: float) -> None:
    readings = [reading(0, 100), reading(1000.5, balance), reading(2000, 96)]
    result = reconcile_balance(readings, [charge(1000)])
    assert figures(result) == {"spent": 4, "explained": 4}
    assert [interval.in_flight for interval in result.intervals] == [4, 0]
    assert result.intervals[0].explained == 100 - balance


def test_a_submit_in_flight_hides_the_credits_of_somebody_else_for_one_interval_only() -> None:
    readings = [reading(0, 100), reading(1000.5, 96), reading(2000, 92)]
    result = reconcile_balance(readings, [charge(1000)])
    assert [interval.unexplained for interval in result.intervals] == [0, 4]


@pytest.mark.parametrize("balance", [100, 96])
def test_a_submit_in_flight_at_the_first_reading_is_no_top_up(balance: float) -> None:
    """Its credits may have been taken before the first reading."""
    readings = [reading(1000.5, 100), reading(2000, balance)]
    result = reconcile_balance(readings, [charge(1000)])
    assert not result.total("unexplained")
    assert not result.total("added")


@pytest.mark.parametrize("balance", [100, 96])
def test_credits_that_come_back_between_two_readings_are_no_top_up(balance: float) -> None:
    """A moderated request is taken at its submit, and given back when it ends."""
    readings = [reading(0, 100), reading(1006, balance), reading(2000, 100)]
    result = reconcile_balance(readings, [charge(1000, "moderated")])
    assert not result.total("unexplained")
    assert not result.total("added")


def test_a_lost_answer_before_the_first_reading_explains_nothing() -> None:
    readings = [reading(0, 100), reading(2000, 96)]
    result = reconcile_balance(readings, [charge(-5000, "uncertain")])
    assert figures(result) == {"spent": 4, "unexplained": 4}
    assert result.possible == 0


def test_a_top_up_does_not_change_what_a_lost_answer_cost() -> None:
    readings = [reading(0, 100), reading(2000, 96), reading(3000, 196), reading(4000, 192)]
    result = reconcile_balance(readings, [charge(1000, "uncertain"), charge(3500)])
    assert figures(result) == {"spent": -92, "explained": 4, "uncertain": 4, "added": 100}


def test_clocks_that_differ_explain_a_submit_that_seems_to_be_later_than_its_charge() -> None:
    readings = [reading(0, 100), reading(997, 96), reading(2000, 96)]
    assert figures(reconcile_balance(readings, [charge(1000)])) == {"spent": 4, "explained": 4}
    strict = reconcile_balance(readings, [charge(1000)], Tolerances(clocks=0))
    assert strict.total("unexplained") == 4


def test_one_reading_is_no_interval() -> None:
    assert reconcile_balance([reading(0, 100)], [charge(1)]).intervals == ()


def test_no_sum_has_an_error_of_binary_fractions() -> None:
    charges = [charge(1000 + number, credits_=0.1) for number in range(1000)]
    result = reconcile_balance([reading(0, 100), reading(9000, 0)], charges)
    assert figures(result) == {"spent": 100, "explained": 100}


@pytest.mark.parametrize("seed", range(20))
def test_no_history_of_submits_leaves_a_credit_unexplained(seed: int) -> None:
    """Drawn histories of an account: whatever the readings fall on, its own charges explain all."""
    draw = random.Random(seed)
    outcomes = ("landed", "lost", "moderated", "failed", "uncertain", "rejected")
    charges = [
        charge(draw.uniform(0, 3000), draw.choice(outcomes), draw.choice((1.4, 3.0, 4.0)))
        for _ in range(60)
    ]
    moments = sorted(draw.uniform(-100, 4000) for _ in range(12))
    events = [event for item in charges for event in _events(draw, item)]
    readings = [
        reading(moment, 1000 - sum(amount for when, amount in events if when <= moment))
        for moment in moments
    ]
    result = reconcile_balance(readings, charges)
    assert result.total("unexplained") == result.total("added") == 0
    for interval in result.intervals:
        parts = interval.explained + interval.uncertain + interval.unexplained - interval.added
        assert interval.spent == pytest.approx(parts, abs=1e-6)


def _events(draw: random.Random, item: Charge) -> Sequence[tuple[float, float]]:
    """Return the times and amounts at which BFL takes the credits of a charge, or returns them."""
    opened = (item.opened_at - NOON).total_seconds()
    taken = opened + draw.uniform(0, 1)
    if item.outcome == "uncertain":
        return [(taken, item.held or 0)] if draw.random() < 0.5 else []
    if item.outcome in NOT_CHARGED:
        return [(taken, item.held or 0), (opened + draw.uniform(1, 10), -(item.held or 0))]
    return [(taken, item.held or 0)]
