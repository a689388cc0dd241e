"""Times at which to poll a generation, learned from the latencies of earlier generations.

With a given number of polls, the end of a generation is noticed soonest if the polls are where the
generation is likely to end, and closer together where it is likelier. The best spacing is
proportional to one over the square root of the hazard: the chance that a generation that is not
ready yet becomes ready now.

The classes only decide. They have no clock and no socket.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from itertools import pairwise
from typing import NamedTuple

#: Polls for each generation, as a share of those of the documented loop (sleep, then poll), and the
#: maximum.
_POLL_BUDGET_SHARE = 0.975
_MAX_POLLS = 16.0
#: Polls of the budget that are lost, on average, because a generation ends between two of them.
_POLLS_LOST = 0.25
#: Longest wait in seconds. The shortest one is the poll interval, divided by this number.
_MAX_WAIT_SECONDS = 30.0
_MIN_WAIT_DIVISOR = 25
#: A generation that is older than nearly all others were is polled less and less often: its spacing
#: grows by this share of the seconds it is late, up to this share of its age.
_LATE_GROWTH = 0.5
_MAX_LATE_SHARE = 0.1
#: Before enough generations were seen: the first poll as a share of the typical latency, then the
#: spacing as a share of the age, and at least as a share of the poll interval.
_INITIAL_START_SHARE = 0.4
_INITIAL_SPACING_SHARE = 0.06
_INITIAL_INTERVAL_SHARE = 0.6

#: Latencies that are kept, that a schedule needs, and that come in between two schedules.
_WINDOW = 100
_MIN_LATENCIES = 12
_LATENCIES_PER_SCHEDULE = 4
#: Quantiles that cut the latencies into pieces. Each piece has a spacing of its own.
_QUANTILES = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.98)
#: This many latest latencies whose median is outside the range of the earlier ones mean that the
#: service has changed, if at least so many earlier ones are known.
_CHANGE_WINDOW = 12
_MIN_BEFORE_CHANGE = 40
#: This many first polls in a row that found the generation ready mean that they are too late. The
#: estimate of how late they are then doubles.
_READY_PER_DOUBLING = 3
_MAX_DOUBLINGS = 10
#: Latencies are known as intervals. Steps of the golden ratio spread the points that stand for
#: them.
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class _Schedule(NamedTuple):
    """Spacings of the polls.

    Between the ages ``edges[i]`` and ``edges[i + 1]`` a poll comes every ``spacings[i]`` seconds.
    """

    edges: tuple[float, ...]
    spacings: tuple[float, ...]

    @property
    def first(self) -> float:
        return self.edges[0] + self.spacings[0]


class PollSchedule:
    """Decides when to poll the generations of one model.

    :param typical_seconds: expected latency of a generation until enough generations were seen. It
        may be wrong by a factor of two.
    :param poll_interval: seconds between two polls of the documented loop. The schedule makes about
        as many polls as that loop would.
    """

    def __init__(self, typical_seconds: float, poll_interval: float = 0.5) -> None:
        self._typical_seconds = typical_seconds
        self._poll_interval = poll_interval
        self._min_wait = poll_interval / _MIN_WAIT_DIVISOR
        self._latencies: deque[float] = deque(maxlen=_WINDOW)
        self._schedule: _Schedule | None = None
        self._since_schedule = 0
        self._position = 0.5
        self._ready_at_first_poll = 0
        self._bounded_since_guesses = _MIN_LATENCIES

    def observe(self, pending_at: float, ready_at: float) -> None:
        """Learn from the latency of one generation, which lies between two of its polls.

        :param pending_at: age of the generation in seconds at its last pending poll, 0 if there
            was none.
        :param ready_at: age of the generation in seconds at the poll that found it ready.
        """
        earliest = pending_at
        if pending_at > 0:
            self._ready_at_first_poll = 0
            self._count_bounded()
        else:
            # An older schedule, or an earlier process, polled this generation: it says too little.
            if ready_at > 1.5 * self._first:
                return
            earliest = self._guess_earliest(ready_at)

        self._position = (self._position + _GOLDEN_RATIO) % 1.0
        self._latencies.append(earliest + (ready_at - earliest) * self._position)
        self._since_schedule += 1
        is_due = self._since_schedule >= _LATENCIES_PER_SCHEDULE
        if is_due and len(self._latencies) >= _MIN_LATENCIES:
            self._since_schedule = 0
            self._forget_before_change()
            self._schedule = self._build_schedule(sorted(self._latencies))

    def seconds_until_poll(self, age: float) -> float:
        """Return the seconds until the next poll of a generation, at most 30.

        :param age: seconds since the generation was submitted.
        """
        seconds = self._first - age
        if seconds < self._min_wait:
            seconds = self._spacing_at(age)
        return min(max(seconds, self._min_wait), _MAX_WAIT_SECONDS)

    @property
    def _first(self) -> float:
        """Age of a generation at its first poll."""
        if self._schedule:
            return self._schedule.first
        return _INITIAL_START_SHARE * self._typical_seconds

    @property
    def _first_spacing(self) -> float:
        return self._schedule.spacings[0] if self._schedule else self._first / 4

    def _guess_earliest(self, ready_at: float) -> float:
        """Estimate the earliest end of a generation that was ready at its first poll."""
        self._ready_at_first_poll += 1
        if self._ready_at_first_poll >= 2 * _READY_PER_DOUBLING:
            self._bounded_since_guesses = 0
        doublings = min(self._ready_at_first_poll // _READY_PER_DOUBLING, _MAX_DOUBLINGS)
        too_late = self._first_spacing * 2.0 ** (1 + doublings)
        return max(ready_at / 2, ready_at - too_late)

    def _spacing_at(self, age: float) -> float:
        if self._schedule is None:
            return max(_INITIAL_INTERVAL_SHARE * self._poll_interval, _INITIAL_SPACING_SHARE * age)
        edges, spacings = self._schedule
        if age < edges[-1]:
            return spacings[max(bisect_right(edges, age) - 1, 0)]
        growing = spacings[-1] + _LATE_GROWTH * (age - edges[-1])
        return max(spacings[-1], min(growing, _MAX_LATE_SHARE * age))

    def _build_schedule(self, latencies: list[float]) -> _Schedule:
        """Return the spacings that make the expected number of polls equal to the budget.

        :param latencies: in ascending order.
        """
        last = len(latencies) - 1
        edges = tuple(latencies[round(quantile * last)] for quantile in _QUANTILES)
        # Of each piece: the share of the generations that end there, its length, the share still
        # pending.
        pieces = [
            (until - since, end - start, 1 - (since + until) / 2)
            for (since, until), (start, end) in zip(
                pairwise(_QUANTILES), pairwise(edges), strict=True
            )
        ]
        mean = sum(latencies) / len(latencies)
        budget = min(_POLL_BUDGET_SHARE * (mean / self._poll_interval + 0.5), _MAX_POLLS)
        cost = sum(math.sqrt(share * length * pending) for share, length, pending in pieces)
        scale = cost / max(budget - _POLLS_LOST, 0.5)
        spacings = tuple(
            max(scale * math.sqrt(length * pending / share), self._min_wait)
            for share, length, pending in pieces
        )
        return _Schedule(edges, spacings)

    def _count_bounded(self) -> None:
        """Drop guessed latencies as soon as enough generations were seen both pending and ready."""
        if self._bounded_since_guesses < _MIN_LATENCIES:
            self._bounded_since_guesses += 1
            if self._bounded_since_guesses == _MIN_LATENCIES:
                for _ in range(len(self._latencies) - _MIN_LATENCIES):
                    self._latencies.popleft()

    def _forget_before_change(self) -> None:
        """Drop the latencies from before the service became faster or slower."""
        latencies = list(self._latencies)
        before = sorted(latencies[:-_CHANGE_WINDOW])
        latest = sorted(latencies[-_CHANGE_WINDOW:])
        if len(before) < _MIN_BEFORE_CHANGE:
            return

        last = len(before) - 1
        low, high = (before[round(quantile * last)] for quantile in (_QUANTILES[0], _QUANTILES[-1]))
        if not low <= latest[_CHANGE_WINDOW // 2] <= high:
            for _ in before:
                self._latencies.popleft()
