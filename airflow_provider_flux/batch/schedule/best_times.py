"""The best ages to poll a generation at, for known latencies and a number of polls.

For a price of a poll, the ages that minimize lateness plus price are found by dynamic programming
over a grid of ages: after a poll at one of them, the next poll is at a later one. The lateness up
to there is a line in the share of the generations that had ended before, so that the best next poll
is on the lower envelope of lines, which one pass finds. A search for the price then meets the
number of polls. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Ages of the last poll that said pending, and of the one that found the generation ended.
Span = tuple[float, float]
#: Ages at which a poll may be made.
_MAX_POINTS = 240
#: Halvings of the logarithm of the price.
_STEPS = 14


@dataclass(frozen=True)
class _Latencies:
    """A distribution of latencies.

    :param ages: ages at which a poll may be made, ascending. All have ended at the last one.
    :param ended: share that has ended at the age before, from 0; one more than ages, the last is 1.
    :param sums: sum of the latencies of those that have ended, as a share of all, likewise.
    """

    ages: Sequence[float]
    ended: Sequence[float]
    sums: Sequence[float]

    def choose(self, price: float) -> list[int]:
        """Return the ages to poll at, as positions from 1, for a price of a poll in seconds."""
        size = len(self.ages)
        following = [size] * size
        best = 0.0
        #: The lines of the envelope: slope, value at 0, and the position they stand for.
        lines: list[tuple[float, float, int]] = []
        head = 0
        for last in range(size - 1, -1, -1):
            age = self.ages[last]
            line = (-age, self.ended[last + 1] * age - self.sums[last + 1] + best, last + 1)
            while len(lines) - head >= 2 and _is_needless(lines[-2], lines[-1], line):
                lines.pop()
            lines.append(line)
            share = self.ended[last]
            while head + 1 < len(lines) and _at(lines[head + 1], share) <= _at(lines[head], share):
                head += 1
            best = price * (1 - share) + self.sums[last] + _at(lines[head], share)
            following[last] = lines[head][2]
        chosen = [following[0]]
        while chosen[-1] < size:
            chosen.append(following[chosen[-1]])
        return chosen

    def count_polls(self, chosen: Sequence[int]) -> float:
        """Return the mean number of polls: of each one, the share that is pending before it."""
        return sum(1 - self.ended[before] for before, _ in pairwise([0, *chosen]))


def find_best_times(spans: Sequence[Span], polls: float, min_wait: float) -> list[float]:
    """Return the ages at which to poll.

    :param spans: for each generation that ended, the ages in seconds between which it did. No span
        is empty.
    :param polls: mean number of polls of a generation, at least 1.
    :param min_wait: shortest seconds between two polls.
    :return: ascending ages; all generations had ended at the last one.
    """
    known = _summarize(spans)
    low, high = min_wait * 1e-4, max(known.ages[-1], min_wait)
    chosen = known.choose(high)
    for _ in range(_STEPS):
        price = (low * high) ** 0.5
        found = known.choose(price)
        if known.count_polls(found) > polls:
            low = price
        else:
            high, chosen = price, found
    times: list[float] = []
    for position in chosen:
        age = known.ages[position - 1]
        if times and age - times[-1] < min_wait:
            age = times[-1] + min_wait
        times.append(age)
    return times


def _summarize(spans: Sequence[Span]) -> _Latencies:
    """Return the distribution in which each generation ended anywhere in its span."""
    events = sorted(
        (age, change)
        for start, end in spans
        for age, change in ((start, 1 / (end - start)), (end, -1 / (end - start)))
    )
    ages = _choose_ages(sorted(end for _, end in spans), events[0][0], events[-1][0])
    count = len(spans)
    ended, sums = [0.0], [0.0]
    at, slope, done, total, position = events[0][0], 0.0, 0.0, 0.0, 0
    for age in ages:
        while position < len(events) and events[position][0] <= age:
            then, change = events[position]
            done += slope * (then - at)
            total += slope * (then * then - at * at) / 2
            at, slope, position = then, slope + change, position + 1
        done += slope * (age - at)
        total += slope * (age * age - at * at) / 2
        at = age
        ended.append(min(done / count, 1.0))
        sums.append(total / count)
    ended[-1] = 1.0
    return _Latencies(ages, ended, sums)


def _choose_ages(ends: Sequence[float], first: float, last: float) -> list[float]:
    """Return ages for polls: as many where generations end, as evenly in between."""
    half = _MAX_POINTS // 2
    quantiles = {ends[(len(ends) - 1) * step // half] for step in range(half)}
    even = {first + (last - first) * step / half for step in range(1, half)}
    return sorted(age for age in quantiles | even | {last} if age > first)


def _at(line: tuple[float, float, int], share: float) -> float:
    return line[0] * share + line[1]


def _is_needless(
    first: tuple[float, float, int],
    middle: tuple[float, float, int],
    last: tuple[float, float, int],
) -> bool:
    """Whether a line is nowhere below both others. Their slopes ascend."""
    if middle[0] == last[0]:
        return last[1] <= middle[1]
    left = (last[1] - first[1]) * (first[0] - middle[0])
    right = (middle[1] - first[1]) * (first[0] - last[0])
    # Both differences of slopes are negative, so their product keeps the order of the quotients.
    return left >= right
