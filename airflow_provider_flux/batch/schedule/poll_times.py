"""When to poll: learned from the latencies seen so far. No clock, no socket.

For a given number of polls a task is noticed soonest if they lie where it is likely to end, and there the
closer the likelier it is: the best distance between two polls goes with one over the square root of the
hazard, the chance that a task which is not ready yet becomes ready now.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from itertools import pairwise
from typing import NamedTuple

#: How many polls a task may take, compared with the documented loop (sleep, then poll), and at most.
_THRIFT = 0.975
#: Polls that are lost since a task ends between two of them.
_ROUNDING = 0.25
_MOST_POLLS = 16.0
_LONGEST_WAIT = 30.0
#: Share of the age that a wait grows to when a task takes longer than nearly all others did.
_LATE_SHARE = 0.1
_LATE_GROWTH = 0.5
#: Before anything is known: the first poll at this share of the typical latency, further ones at these distances.
_UNKNOWN_START = 0.4
_UNKNOWN_SHARE = 0.06
_UNKNOWN_SPACING = 0.6

_WINDOW = 100
_ENOUGH = 12
_RENEW_EVERY = 4
#: Shares of the tasks at which the latencies are cut into pieces, each with a distance of its own.
_CUTS = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.98)
#: So many tasks that are unlike all earlier ones mean that the service has changed, if there were enough before.
_CHANGED = 12
_STEADY = 40
#: So many first polls in a row that said Ready mean that they come too late: the guess of how much too late doubles.
_TOO_LATE = 3
_MOST_DOUBLINGS = 10
#: Spreads the latencies over the interval in which they are known to lie: never twice the same place.
_GOLDEN = (math.sqrt(5) - 1) / 2


class _Schedule(NamedTuple):
    """``edges[i]`` to ``edges[i + 1]`` is polled every ``spacings[i]`` seconds."""

    edges: tuple[float, ...]
    spacings: tuple[float, ...]

    @property
    def first(self) -> float:
        return self.edges[0] + self.spacings[0]


class PollSchedule:
    """Decide when to poll the tasks of one model.

    :param typical_seconds: what is expected of a task until some have been seen; may be wrong by a factor of two.
    :param poll_interval: seconds between two polls of the documented loop, whose number of polls is kept.
    """

    def __init__(self, typical_seconds: float, poll_interval: float = 0.5) -> None:
        self._typical = typical_seconds
        self._poll_interval = poll_interval
        self._shortest = poll_interval / 25
        self._seen: deque[float] = deque(maxlen=_WINDOW)
        self._schedule: _Schedule | None = None
        self._not_in_plan = 0
        self._place = 0.5
        self._ready_at_once = 0
        self._known_since_guesses = _ENOUGH

    def observe(self, pending_at: float, ready_at: float) -> None:
        """Take in how long a task took.

        :param pending_at: its age in seconds at the last poll that said it was pending, 0 if there was none.
        :param ready_at: its age at the poll that said it was ready.
        """
        earliest = pending_at
        if pending_at > 0:
            self._ready_at_once = 0
            self._count_known()
        else:
            if ready_at > 1.5 * self._first:
                return  # polled by an older plan, or by an earlier process: this says too little
            self._ready_at_once += 1
            if self._ready_at_once >= 2 * _TOO_LATE:
                self._known_since_guesses = 0
            too_late = self._first_spacing * 2.0 ** (
                1 + min(self._ready_at_once // _TOO_LATE, _MOST_DOUBLINGS)
            )
            earliest = max(ready_at / 2, ready_at - too_late)
        self._place = (self._place + _GOLDEN) % 1.0
        self._seen.append(earliest + (ready_at - earliest) * self._place)
        self._not_in_plan += 1
        if self._not_in_plan >= _RENEW_EVERY and len(self._seen) >= _ENOUGH:
            self._not_in_plan = 0
            self._forget()
            self._schedule = self._plan(sorted(self._seen))

    def wait(self, age: float) -> float:
        """Return the seconds until the next poll of a task, ``age`` seconds after its submit; 30 at most."""
        seconds = self._first - age
        if seconds < self._shortest:
            seconds = self._spacing(age)
        return min(max(seconds, self._shortest), _LONGEST_WAIT)

    @property
    def _first(self) -> float:
        """Age at the first poll."""
        return self._schedule.first if self._schedule else _UNKNOWN_START * self._typical

    @property
    def _first_spacing(self) -> float:
        return self._schedule.spacings[0] if self._schedule else self._first / 4

    def _spacing(self, age: float) -> float:
        if self._schedule is None:
            return max(_UNKNOWN_SPACING * self._poll_interval, _UNKNOWN_SHARE * age)
        edges, spacings = self._schedule
        if age < edges[-1]:
            return spacings[max(bisect_right(edges, age) - 1, 0)]
        return max(
            spacings[-1], min(spacings[-1] + _LATE_GROWTH * (age - edges[-1]), _LATE_SHARE * age)
        )

    def _plan(self, latencies: list[float]) -> _Schedule:
        last = len(latencies) - 1
        edges = tuple(latencies[round(cut * last)] for cut in _CUTS)
        # Of each piece: the share of tasks that end there, how long it is, the share that is still pending.
        pieces = [
            (until - since, end - start, 1 - (since + until) / 2)
            for (since, until), (start, end) in zip(pairwise(_CUTS), pairwise(edges), strict=True)
        ]
        mean = sum(latencies) / len(latencies)
        budget = min(_THRIFT * (mean / self._poll_interval + 0.5), _MOST_POLLS)
        # The distances that make the expected number of polls the budget.
        scale = sum(math.sqrt(share * width * pending) for share, width, pending in pieces) / max(
            budget - _ROUNDING, 0.5
        )
        spacings = tuple(
            max(scale * math.sqrt(width * pending / share), self._shortest)
            for share, width, pending in pieces
        )
        return _Schedule(edges, spacings)

    def _count_known(self) -> None:
        """Drop the guesses of a time when all polls came too late, as soon as there is enough that is known."""
        if self._known_since_guesses < _ENOUGH:
            self._known_since_guesses += 1
            if self._known_since_guesses == _ENOUGH:
                for _ in range(len(self._seen) - _ENOUGH):
                    self._seen.popleft()

    def _forget(self) -> None:
        """Drop what was seen before the service became faster or slower."""
        latencies = list(self._seen)
        before, lately = sorted(latencies[:-_CHANGED]), sorted(latencies[-_CHANGED:])
        if len(before) < _STEADY:
            return
        last = len(before) - 1
        if (
            not before[round(_CUTS[0] * last)]
            <= lately[_CHANGED // 2]
            <= before[round(_CUTS[-1] * last)]
        ):
            for _ in before:
                self._seen.popleft()
