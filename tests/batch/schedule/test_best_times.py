from __future__ import annotations

import random
from bisect import bisect_left
from itertools import pairwise
from statistics import fmean

import pytest

from airflow_provider_flux.batch.schedule.best_times import Span, find_best_times


def spans_of(latencies: list[float], width: float = 0.05) -> list[Span]:
    return [(latency - width, latency) for latency in latencies]


def polls_of(times: list[float], latencies: list[float]) -> float:
    return fmean(bisect_left(times, latency) + 1 for latency in latencies)


def lateness_of(times: list[float], latencies: list[float]) -> float:
    return fmean(times[bisect_left(times, latency)] - latency for latency in latencies)


@pytest.fixture
def two_modes() -> list[float]:
    source = random.Random(1)
    return sorted(source.choice([3.0, 6.0]) + source.uniform(-0.3, 0.3) for _ in range(300))


def test_the_times_ascend_and_end_with_the_longest_latency(two_modes: list[float]) -> None:
    times = find_best_times(spans_of(two_modes), 6, 0.02)
    assert all(before < after for before, after in pairwise(times))
    assert two_modes[-1] <= times[-1] + 1e-9 <= two_modes[-1] + 0.05


def test_the_polls_are_where_generations_end(two_modes: list[float]) -> None:
    times = find_best_times(spans_of(two_modes), 6, 0.02)
    between = [time for time in times if 3.4 < time < 5.6]
    assert len(between) <= 1


@pytest.mark.parametrize("polls", [3.0, 5.0, 8.0])
def test_a_generation_is_polled_about_as_often_as_it_may(
    polls: float, two_modes: list[float]
) -> None:
    times = find_best_times(spans_of(two_modes), polls, 0.001)
    assert polls_of(times, two_modes) == pytest.approx(polls, rel=0.15)


def test_evenly_spaced_polls_of_the_same_number_are_later(two_modes: list[float]) -> None:
    times = find_best_times(spans_of(two_modes), 6, 0.02)
    polls = polls_of(times, two_modes)
    spacing = (two_modes[-1] - two_modes[0]) / 8
    even = [two_modes[0] + spacing * step for step in range(1, 9)]
    even[-1] = times[-1]
    assert polls_of(even, two_modes) == pytest.approx(polls, rel=0.35)
    assert lateness_of(times, two_modes) < 0.7 * lateness_of(even, two_modes)


def test_no_two_polls_are_closer_than_the_shortest_wait() -> None:
    times = find_best_times(spans_of([4.0] * 50, width=0.01), 12, 0.1)
    assert all(after - before > 0.099 for before, after in pairwise(times))
