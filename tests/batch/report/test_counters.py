"""Counters of a batch, its cost and its use of the quota."""

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


def test_a_submit_is_affordable_within_max_cost() -> None:
    counters = Counters(10, 24, max_cost=10.0)
    assert counters.can_afford(10.0)
    assert not counters.can_afford(10.01)
    counters.charge(6.0, is_reported=True)
    assert counters.can_afford(4.0)
    counters.reserved = 2.0
    assert counters.can_afford(2.0)
    assert not counters.can_afford(2.5)
    assert Counters(10, 24).can_afford(1e9)
    assert not Counters(10, 24, max_cost=0.0).can_afford(1.0)


def test_an_unknown_price_fits_into_no_limit() -> None:
    """Fault 12: a row without a known price counted as free."""
    assert not Counters(10, 24, max_cost=1e9).can_afford(None)
    assert Counters(10, 24).can_afford(None)


def test_a_lost_answer_counts_as_spent_and_is_reported_apart() -> None:
    counters = Counters(10, 24, max_cost=10.0)
    counters.record_lost_answer(4.0)
    assert counters.can_afford(6.0)
    assert not counters.can_afford(7.0)
    summary = counters.summarize({"uncertain": 1}, estimated=0, seconds=0)
    assert (summary["credits"], summary["credits_uncertain"]) == (4, 4)
    assert counters.describe_spent() == "4 credits (4 of them possibly)"


@given(st.integers(1, 20_000), st.sampled_from([0.1, 1.4, 1.5, 2.5, 4.75, 60.7]))
def test_max_cost_equal_to_the_sum_of_all_prices_is_enough(count: int, price: float) -> None:
    """Check that rounding errors stay small for as many rows as one task works on."""
    counters = Counters(count, 24, max_cost=round(count * price, 4))
    for _ in range(min(count, 2000)):
        assert counters.can_afford(price)
        counters.charge(price, is_reported=False)


def test_a_refund_and_waste_are_counted_in_the_summary() -> None:
    counters = Counters(2, 24)
    for source in (True, False):
        counters.charge(4.0, is_reported=source)
    counters.charge(-4.0, is_reported=True)
    counters.charge(None, is_reported=True)
    counters.add_waste(4.0)
    counters.add_waste(None)
    summary = counters.summarize({"landed": 1, "moderated": 1}, estimated=8.0, seconds=3.14)
    assert summary["credits"] == summary["credits_estimated"] == summary["credits_wasted"] == 4
    assert (summary["credits_reported"], summary["usd"], summary["credits_expected"]) == (
        0,
        0.04,
        8,
    )
    assert [name for name in ALL_OUTCOMES if summary[name]] == ["landed", "moderated"]


def test_the_summary_has_quantiles_of_the_latencies() -> None:
    counters = Counters(100, 24)
    assert counters.summarize({}, estimated=0, seconds=0)["p50_seconds"] is None
    counters.latencies.extend(float(n) for n in reversed(range(100)))
    summary = counters.summarize({}, estimated=0, seconds=0)
    assert (summary["p50_seconds"], summary["p95_seconds"]) == (50, 95)


def test_an_empty_slot_lowers_the_share_of_the_quota() -> None:
    """Use four slots, of which one is empty for half a second before each further submit."""
    counters = Counters(100, 4)
    for _ in range(4):
        counters.record_submit(0.0)
    for second in range(10):
        counters.record_end(float(second))
        counters.record_submit(second + 0.5)
    assert counters.quota_share == pytest.approx((3.5 * 9 + 3 * 0.5) / (4 * 9.5), abs=1e-4)


def test_a_generation_counts_as_ended_halfway_between_its_last_two_polls() -> None:
    """Use one slot, and notice each end 2 s after the poll that said pending.

    Half of these two seconds count as free time.
    """
    counters = Counters(100, 1)
    for second in range(0, 40, 4):
        counters.record_submit(float(second))
        counters.record_end(second + 4.0, unseen=2.0)
    counters.record_submit(40.0)
    assert counters.quota_share == pytest.approx(3 / 4)


def test_a_few_rows_have_no_share_of_the_quota() -> None:
    counters = Counters(3, 24)
    for second in range(3):
        counters.record_submit(float(second))
    assert counters.quota_share is None


def test_every_outcome_is_counted_once() -> None:
    assert len(set(ALL_OUTCOMES)) == len(ALL_OUTCOMES) == 10
    assert set(WITH_IMAGE) | set(RETRYABLE) < set(ALL_OUTCOMES)
    assert not set(WITH_IMAGE) & set(RETRYABLE)
