"""Times at which to poll a generation, learned from the latencies of earlier generations.

With a given number of polls, the end of a generation is noticed soonest if the polls are where the
generation is likely to end, and closer together where it is likelier. The best ages to poll at are
computed from the latencies: see :mod:`~airflow_provider_flux.batch.schedule.best_times`.

The classes only decide. They have no clock and no socket.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import pairwise
from statistics import fmean

from airflow_provider_flux.batch.schedule.best_times import Span, find_best_times

#: Polls for each generation, as a share of those of the documented loop (sleep, then poll), and the
#: maximum.
_POLL_BUDGET_SHARE = 0.965
_MAX_POLLS = 16.0
#: Polls above or below the budget are made up for by about this many generations, each by at most a
#: share of its budget.
_GENERATIONS_TO_REPAY = 100
_MAX_REPAID_SHARE = 0.1
#: Longest wait in seconds. The shortest one is the poll interval, divided by this number.
_MAX_WAIT_SECONDS = 30.0
_MIN_WAIT_DIVISOR = 25
#: A generation that is older than nearly all others were is polled less and less often: its spacing
#: grows by this share of the seconds it is late, from a share of the poll interval up to a share
#: of its age.
_LATE_GROWTH = 0.5
_LATE_INTERVAL_SHARE = 0.5
_MAX_LATE_SHARE = 0.1
#: Before enough generations were seen: the first poll as a share of the typical latency, then the
#: spacing as a share of the age, and at least as a share of the poll interval.
_INITIAL_START_SHARE = 0.4
_INITIAL_SPACING_SHARE = 0.06
_INITIAL_INTERVAL_SHARE = 0.6

#: Latencies that are kept, that a schedule needs, and that come in between two schedules.
_WINDOW = 4000
_MIN_LATENCIES = 12
_LATENCIES_PER_SCHEDULE = 4
#: The more latencies are known, the less a few more change: then these are a share of them.
_SHARE_PER_SCHEDULE = 0.1
#: Quantiles between which nearly all latencies are.
_QUANTILES = (0.02, 0.98)
#: This many latest latencies whose median is outside the range of the earlier ones mean that the
#: service has changed, if at least so many earlier ones are known.
_CHANGE_WINDOW = 12
_MIN_BEFORE_CHANGE = 40
#: This many first polls in a row that found the generation ready mean that they are too late. The
#: estimate of how late they are then doubles.
_READY_PER_DOUBLING = 3
_MAX_DOUBLINGS = 10
#: How much older than all others, as a share of their range, the next generation may become.
_TAIL_SHARE = 0.1
#: Shortest time between the polls before and after the end of a generation.
_MIN_SPAN_SECONDS = 1e-3


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
        self._spans: deque[Span] = deque(maxlen=_WINDOW)
        self._times: list[float] = []
        #: Shortest wait after the last of these ages.
        self._last_spacing = 0.0
        self._since_schedule = 0
        self._ready_at_first_poll = 0
        self._bounded_since_guesses = _MIN_LATENCIES
        #: Polls above the budget so far.
        self._debt = 0.0

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

        self._count_polls((earliest + ready_at) / 2, ready_at)
        self._spans.append((earliest, max(ready_at, earliest + _MIN_SPAN_SECONDS)))
        self._since_schedule += 1
        if (
            len(self._spans) >= _MIN_LATENCIES
            and self._since_schedule % _LATENCIES_PER_SCHEDULE == 0
        ):
            has_changed = self._forget_before_change()
            share = int(_SHARE_PER_SCHEDULE * len(self._spans))
            if has_changed or self._since_schedule >= share:
                self._since_schedule = 0
                self._set_times()

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
        return self._times[0] if self._times else _INITIAL_START_SHARE * self._typical_seconds

    @property
    def _first_spacing(self) -> float:
        return self._times[1] - self._times[0] if len(self._times) > 1 else self._first / 4

    def _guess_earliest(self, ready_at: float) -> float:
        """Estimate the earliest end of a generation that was ready at its first poll."""
        self._ready_at_first_poll += 1
        if self._ready_at_first_poll >= 2 * _READY_PER_DOUBLING:
            self._bounded_since_guesses = 0
        doublings = min(self._ready_at_first_poll // _READY_PER_DOUBLING, _MAX_DOUBLINGS)
        too_late: float = self._first_spacing * 2.0 ** (0.5 + doublings)
        return max(ready_at / 2, ready_at - too_late)

    def _spacing_at(self, age: float) -> float:
        if not self._times:
            return max(_INITIAL_INTERVAL_SHARE * self._poll_interval, _INITIAL_SPACING_SHARE * age)
        # An age that is nearly due is skipped: its poll has just been made, a little early.
        position = bisect_right(self._times, age + self._min_wait / 2)
        if position < len(self._times):
            return self._times[position] - age
        growing = self._last_spacing + _LATE_GROWTH * (age - self._times[-1])
        return max(self._last_spacing, min(growing, _MAX_LATE_SHARE * age))

    def _set_times(self) -> None:
        """Set the ages that make the expected number of polls equal to the budget."""
        budget = self._budget(fmean((start + end) / 2 for start, end in self._spans))
        budget -= self._debt / _GENERATIONS_TO_REPAY
        # The fewer are known, the more often another one ends where none was expected.
        budget *= 1 - 2.0 / len(self._spans)
        spans = [*self._spans, self._guess_tail()]
        self._times = find_best_times(spans, max(budget, 1.0), self._min_wait)
        gaps = [after - before for before, after in pairwise(self._times)]
        self._last_spacing = max(
            gaps[-1] if gaps else 0.0, _LATE_INTERVAL_SHARE * self._poll_interval
        )

    def _budget(self, latency: float) -> float:
        """Return the polls that a generation may take."""
        return min(_POLL_BUDGET_SHARE * (latency / self._poll_interval + 0.5), _MAX_POLLS)

    def _count_polls(self, latency: float, ready_at: float) -> None:
        """Compare the polls of a generation, by the present schedule, with the budget."""
        age, polls = 0.0, 0
        while age < ready_at - self._min_wait / 2 and polls < 2 * _MAX_POLLS:
            age += self.seconds_until_poll(age)
            polls += 1
        budget = self._budget(latency)
        most = _MAX_REPAID_SHARE * budget * _GENERATIONS_TO_REPAY
        self._debt = min(max(self._debt + polls - budget, -most), most)

    def _guess_tail(self) -> Span:
        """Return a span for the next generation, which may be older than all that were seen."""
        first, last = min(self._spans)[0], max(end for _, end in self._spans)
        middle = sorted(end for _, end in self._spans)[len(self._spans) // 2]
        return middle, last + _TAIL_SHARE * (last - first)

    def _count_bounded(self) -> None:
        """Drop guessed latencies as soon as enough generations were seen both pending and ready."""
        if self._bounded_since_guesses < _MIN_LATENCIES:
            self._bounded_since_guesses += 1
            if self._bounded_since_guesses == _MIN_LATENCIES:
                for _ in range(len(self._spans) - _MIN_LATENCIES):
                    self._spans.popleft()

    def _forget_before_change(self) -> bool:
        """Drop the latencies from before the service became faster or slower.

        :return: whether there were any.
        """
        latencies = [(start + end) / 2 for start, end in self._spans]
        before = sorted(latencies[:-_CHANGE_WINDOW])
        latest = sorted(latencies[-_CHANGE_WINDOW:])
        if len(before) < _MIN_BEFORE_CHANGE:
            return False

        last = len(before) - 1
        low, high = (before[round(quantile * last)] for quantile in (_QUANTILES[0], _QUANTILES[-1]))
        if low <= latest[_CHANGE_WINDOW // 2] <= high:
            return False
        for _ in before:
            self._spans.popleft()
        return True
