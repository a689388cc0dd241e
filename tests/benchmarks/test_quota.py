"""Figures of the batch benchmark, compared with figures computed by hand."""

from __future__ import annotations

import math

import pytest

from benchmarks.quota import (
    Span,
    common_phase,
    floor,
    floor_of,
    quota_use,
    read_spans,
    submitting_phase,
)


def test_spans_are_read_from_a_timeline() -> None:
    timeline = [{"submitted_at": 1.0, "ends_at": 5.0}, {"submitted_at": 2.0, "ends_at": None}]
    assert read_spans(timeline) == [Span(1.0, 5.0), Span(2.0, math.inf)]


def test_full_use_of_the_quota_is_1_and_time_after_the_last_submit_does_not_count() -> None:
    # Two machines; the last submit at 8 ends the phase, whatever runs on after it.
    active = [Span(0, 4), Span(0, 4), Span(4, 8), Span(4, 12), Span(8, 100)]
    assert submitting_phase(active) == Span(0, 8)
    assert quota_use(active, Span(0, 8), limit=2) == 1


def test_a_gap_before_each_submit_lowers_the_use_of_the_quota() -> None:
    active = [Span(0, 4), Span(5, 9), Span(10, 14)]
    assert quota_use(active, submitting_phase(active), limit=1) == pytest.approx(8 / 10)


def test_a_generation_without_an_end_is_active_until_the_end_of_the_phase() -> None:
    assert quota_use([Span(0, math.inf), Span(10, 11)], Span(0, 10), limit=2) == 0.5


def test_an_empty_phase_has_no_use_of_the_quota() -> None:
    assert quota_use([Span(0, 4)], submitting_phase([Span(0, 4)]), limit=24) == 0


def test_the_common_phase_is_the_time_in_which_all_batches_submit() -> None:
    one, other = [Span(0, 4), Span(6, 10)], [Span(2, 4), Span(9, 10)]
    assert common_phase([one, other]) == Span(2, 6)
    late = [Span(20, 21), Span(30, 31)]
    assert quota_use(one, common_phase([one, late]), limit=1) == 0


@pytest.mark.parametrize(
    ("latencies", "machines", "seconds"),
    [
        ([], 3, 0),
        ([4], 3, 4),
        ([1, 2, 3], 1, 6),
        ([3, 1, 1, 1], 2, 3),
        ([1, 1, 1, 3], 2, 4),
        ([4] * 240, 24, 40),
    ],
)
def test_the_floor_is_the_makespan_of_list_scheduling(
    latencies: list[float], machines: int, seconds: float
) -> None:
    assert floor(latencies, machines) == seconds


def test_the_floor_takes_the_latencies_in_the_order_of_the_submits() -> None:
    # In order 1, 1, 1, 3 on two machines: 4. By length, longest first, it would be 3.
    active = [Span(10, 13), Span(0, 1), Span(1, 2), Span(2, 3)]
    assert floor_of(active, 2) == 4
