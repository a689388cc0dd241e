"""Counts and money of a batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.report.counters import (
    ALL_OUTCOMES,
    RETRYABLE,
    WITH_IMAGE,
    Counters,
)


def test_what_fits() -> None:
    tally = Counters(10, 24, max_cost=10.0)
    assert tally.can_afford(10.0)
    assert not tally.can_afford(10.01)
    tally.charge(6.0, is_reported=True)
    assert tally.can_afford(4.0)
    tally.reserved = 2.0
    assert tally.can_afford(2.0)
    assert not tally.can_afford(2.5)
    assert tally.can_afford(None)
    assert Counters(10, 24).can_afford(1e9)
    assert not Counters(10, 24, max_cost=0.0).can_afford(1.0)


@given(st.integers(1, 20_000), st.sampled_from([0.1, 1.4, 1.5, 2.5, 4.75, 60.7]))
def test_a_limit_of_the_very_sum_fits(count: int, price: float) -> None:
    """However the sums are rounded, as long as a batch is of the size that one task works on."""
    tally = Counters(count, 24, max_cost=round(count * price, 4))
    for _ in range(min(count, 2000)):
        assert tally.can_afford(price)
        tally.charge(price, is_reported=False)


def test_what_is_given_back() -> None:
    tally = Counters(2, 24)
    for source in (True, False):
        tally.charge(4.0, is_reported=source)
    tally.charge(-4.0, is_reported=True)
    tally.charge(None, is_reported=True)
    tally.add_waste(4.0)
    tally.add_waste(None)
    summary = tally.summarize({"landed": 1, "moderated": 1}, estimated=8.0, seconds=3.14)
    assert summary["credits"] == summary["credits_estimated"] == summary["credits_wasted"] == 4
    assert (summary["credits_reported"], summary["usd"], summary["credits_expected"]) == (
        0,
        0.04,
        8,
    )
    assert [name for name in ALL_OUTCOMES if summary[name]] == ["landed", "moderated"]


def test_the_latencies() -> None:
    tally = Counters(100, 24)
    assert tally.summarize({}, estimated=0, seconds=0)["p50_seconds"] is None
    tally.latencies.extend(float(n) for n in reversed(range(100)))
    summary = tally.summarize({}, estimated=0, seconds=0)
    assert (summary["p50_seconds"], summary["p95_seconds"]) == (50, 95)


def test_the_share_of_the_quota() -> None:
    """Four slots; one is empty for half of the time between the first and the last submit."""
    tally = Counters(100, 4)
    for _ in range(4):
        tally.record_submit(0.0)
    for second in range(10):
        tally.record_end(float(second))
        tally.record_submit(second + 0.5)
    assert tally.quota_share == pytest.approx((3.5 * 9 + 3 * 0.5) / (4 * 9.5), abs=1e-4)


def test_a_task_has_ended_somewhere_between_its_last_two_polls() -> None:
    """One slot. Each task is seen to have ended 2 s after the poll that said pending: half of that is free time."""
    tally = Counters(100, 1)
    for second in range(0, 40, 4):
        tally.record_submit(float(second))
        tally.record_end(second + 4.0, unseen=2.0)
    tally.record_submit(40.0)
    assert tally.quota_share == pytest.approx(3 / 4)


def test_a_few_rows_say_nothing_of_the_quota() -> None:
    tally = Counters(3, 24)
    for second in range(3):
        tally.record_submit(float(second))
    assert tally.quota_share is None


def test_every_outcome_is_counted_once() -> None:
    assert len(set(ALL_OUTCOMES)) == len(ALL_OUTCOMES) == 9
    assert set(WITH_IMAGE) | set(RETRYABLE) < set(ALL_OUTCOMES)
    assert not set(WITH_IMAGE) & set(RETRYABLE)
