"""Polls against lateness: the schedule of a batch, beside the best that knows the latencies.

``python -m benchmarks.poll_frontier`` prints a row for each distribution of latencies, and ends
with 1 if the schedule of the product is more than 10 % later than the best schedule with as many
polls. There is no socket and no clock: latencies are drawn from a seed, and each generation is
polled by :class:`~airflow_provider_flux.batch.schedule.poll_times.PollSchedule`, which learns from
those that ended before it, as in a batch with 24 slots. A row is the mean of several batches,
because each of them draws other latencies to learn from. The columns are:

- ``polls``: polls of a generation, those of ours, and ``documented`` those of BFL's loop.
- ``late ms``: mean time from the end of a generation to the poll that finds it.
- ``best ms``: the same of the best schedule that makes as many polls. It knows the distribution.
- ``over``: how much later ours is.

The best schedule is found by dynamic programming on a grid of times: for a price of a poll, it
minimizes lateness plus price times polls. Two prices around our number of polls give the point of
the frontier, as a mixture of two schedules.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean

from airflow_provider_flux.batch.schedule.poll_times import PollSchedule

_SLOTS = 24
_POLL_SECONDS = 0.5
#: Generations that ended before the figures count.
_WARM_UP = 200
_GRID = 600
#: Draws by which the best schedule knows a distribution.
_DRAWS = 40_000
_PRICE_STEPS = 14
_MAX_OVER = 0.10

Draw = Callable[[random.Random], float]


def _with_tail(low: float, high: float, tail: float) -> Draw:
    """Return a uniform distribution with an exponential tail for a tenth of the draws."""

    def draw(source: random.Random) -> float:
        latency = source.uniform(low, high)
        return latency + source.expovariate(1 / tail) if source.random() < 0.1 else latency

    return draw


DISTRIBUTIONS: dict[str, Draw] = {
    "4 s ± 25 %": lambda source: source.uniform(3, 5),
    "1 s ± 25 %": lambda source: source.uniform(0.75, 1.25),
    "10 s ± 25 %": lambda source: source.uniform(7.5, 12.5),
    "4 s, normal": lambda source: max(0.5, source.gauss(4, 0.5)),
    "4 s, log-normal": lambda source: 4 * math.exp(source.gauss(0, 0.25)),
    "3 s with a long tail": _with_tail(2.5, 3.5, 3),
    "two modes, 3 s and 6 s": lambda source: source.gauss(3 if source.random() < 0.6 else 6, 0.3),
}


def simulate(draw: Draw, generations: int, seed: int) -> tuple[float, float, list[float]]:
    """Return polls and lateness of a generation with the schedule of the product.

    :param draw: draws a latency.
    :param generations: generations that count.
    :param seed: seed of the draws.
    :return: mean polls, mean lateness in seconds, and the latencies.
    """
    source = random.Random(seed)
    typical = fmean(draw(random.Random(n)) for n in range(200))
    schedule = PollSchedule(typical, _POLL_SECONDS)
    polls: list[int] = []
    lateness: list[float] = []
    latencies: list[float] = []
    events: list[tuple[float, int, float, float, float, int]] = []
    # An event is the next poll of a generation: its time, its submit, latency and polls so far.
    for slot in range(_SLOTS):
        started = slot * 0.01
        wait = schedule.seconds_until_poll(0.0)
        heapq.heappush(events, (started + wait, slot, started, draw(source), 0.0, 1))
    ended = 0
    while len(polls) < generations:
        now, slot, started, latency, pending, count = heapq.heappop(events)
        age = now - started
        if age < latency:
            due = now + schedule.seconds_until_poll(age)
            heapq.heappush(events, (due, slot, started, latency, age, count + 1))
            continue
        schedule.observe(pending, age)
        ended += 1
        if ended > _WARM_UP:
            polls.append(count)
            lateness.append(age - latency)
            latencies.append(latency)
        due = now + schedule.seconds_until_poll(0.0)
        heapq.heappush(events, (due, slot, now, draw(source), 0.0, 1))
    return fmean(polls), fmean(lateness), latencies


def _draw_many(draw: Draw) -> list[float]:
    """Return draws that stand for the distribution: others than those that ours meets."""
    source = random.Random("best")
    return [draw(source) for _ in range(_DRAWS)]


def best_lateness(latencies: Sequence[float], polls: float) -> float:
    """Return the lateness of the best schedule that makes a number of polls, in seconds.

    :param latencies: many draws of the distribution, which the schedule knows.
    :param polls: mean polls of a generation.
    """
    grid = _Grid(latencies)
    low, high = 1e-4, 10.0
    cheap, dear = grid.solve(low), grid.solve(high)
    for _ in range(_PRICE_STEPS):
        middle = math.sqrt(low * high)
        found = grid.solve(middle)
        if found[0] >= polls:
            low, cheap = middle, found
        else:
            high, dear = middle, found
    if cheap[0] - dear[0] < 1e-9:
        return cheap[1]
    share = (polls - dear[0]) / (cheap[0] - dear[0])
    return dear[1] + share * (cheap[1] - dear[1])


class _Grid:
    """Times at which a schedule may poll: quantiles of the latencies, and evenly in between."""

    def __init__(self, latencies: Sequence[float]) -> None:
        ordered = sorted(latencies)
        last = len(ordered) - 1
        half, span = _GRID // 2, ordered[-1] - ordered[0]
        quantiles = {ordered[round(last * step / half)] for step in range(1, half + 1)}
        even = {ordered[0] + span * step / half for step in range(1, half)}
        self.times = sorted(quantiles | even)
        self._counts = [0.0]
        self._sums = [0.0]
        position, total = 0, 0.0
        for time in self.times:
            while position <= last and ordered[position] <= time:
                total += ordered[position]
                position += 1
            self._counts.append(position / len(ordered))
            self._sums.append(total / len(ordered))

    def solve(self, price: float) -> tuple[float, float]:
        """Return polls and lateness of the best schedule for a price of a poll in seconds."""
        size = len(self.times)
        # State: the last poll was at grid point i (0: none). All that ended by then are found.
        best = [0.0] * (size + 1)
        choice = [size] * (size + 1)
        for last in range(size - 1, -1, -1):
            pending = 1 - self._counts[last]
            costs = (
                price * pending + self._late(last, after) + best[after]
                for after in range(last + 1, size + 1)
            )
            best[last], choice[last] = min(
                (cost, after) for after, cost in enumerate(costs, last + 1)
            )
        path = [0]
        while path[-1] < size:
            path.append(choice[path[-1]])
        polls = sum(1 - self._counts[before] for before, _ in pairwise(path))
        return polls, sum(self._late(before, after) for before, after in pairwise(path))

    def _late(self, before: int, after: int) -> float:
        """Return the lateness of those that end between two polls."""
        share = self._counts[after] - self._counts[before]
        return share * self.times[after - 1] - (self._sums[after] - self._sums[before])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.poll_frontier", description="Polls against lateness."
    )
    parser.add_argument("--generations", type=int, default=4000, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=6, help="batches (default: %(default)s)")
    options = parser.parse_args()
    print(f"{'latencies':26}{'polls':>7}{'documented':>12}{'late ms':>9}{'best ms':>9}{'over':>8}")
    is_good = True
    for name, draw in DISTRIBUTIONS.items():
        batches = [simulate(draw, options.generations, seed) for seed in range(options.seeds)]
        polls, late = (fmean(batch[column] for batch in batches) for column in (0, 1))
        latencies = [latency for batch in batches for latency in batch[2]]
        documented = fmean(math.ceil(latency / _POLL_SECONDS) for latency in latencies)
        best = best_lateness(_draw_many(draw), polls)
        over = late / best - 1
        is_good = is_good and over <= _MAX_OVER and polls <= documented
        print(
            f"{name:26}{polls:7.2f}{documented:12.2f}{1000 * late:9.1f}{1000 * best:9.1f}"
            f"{over:8.1%}",
            flush=True,
        )
    print("\nAll are within the limits." if is_good else "\nSome are beyond the limits.")
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
