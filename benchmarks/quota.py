"""Use of the quota by a batch, computed from the timeline of the emulator.

Times are epoch seconds, as in the timeline. The functions are pure.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """Time in which one generation was active.

    :param start: time of its submit.
    :param end: time of its end, ``math.inf`` if it has none.
    """

    start: float
    end: float

    def seconds_within(self, phase: Span) -> float:
        """Return the seconds of a phase in which the generation was active."""
        return max(0.0, min(self.end, phase.end) - max(self.start, phase.start))


def read_spans(timeline: Iterable[dict[str, Any]]) -> list[Span]:
    """Return the span of each generation of a timeline.

    :param timeline: the ``tasks`` of the emulator's timeline.
    """
    return [
        Span(entry["submitted_at"], math.inf if entry["ends_at"] is None else entry["ends_at"])
        for entry in timeline
    ]


def submitting_phase(active: Sequence[Span]) -> Span:
    """Return the time from the first submit to the last."""
    starts = [span.start for span in active]
    return Span(min(starts), max(starts))


def common_phase(batches: Iterable[Sequence[Span]]) -> Span:
    """Return the time in which all batches submitted.

    It is empty (``end <= start``) if there was no such time.
    """
    phases = [submitting_phase(batch) for batch in batches]
    return Span(max(phase.start for phase in phases), min(phase.end for phase in phases))


def quota_use(active: Iterable[Span], phase: Span, limit: int) -> float:
    """Return the used share of the quota in a phase, 0 to 1, and 0 if the phase is empty.

    :param active: spans of the generations.
    :param phase: time that counts.
    :param limit: generations that may be active at once.
    """
    length = phase.end - phase.start
    used = sum(span.seconds_within(phase) for span in active)
    return used / (limit * length) if length > 0 else 0.0


def floor(latencies: Iterable[float], machines: int) -> float:
    """Return the makespan of list scheduling.

    :param latencies: seconds of each generation, in the order in which they start.
    :param machines: generations that run at once. Each starts as soon as a machine is free.
    """
    free_at = [0.0] * machines
    for latency in latencies:
        heapq.heapreplace(free_at, free_at[0] + latency)
    return max(free_at)


def floor_of(active: Iterable[Span], machines: int) -> float:
    """Return the floor of the latencies that were drawn, in the order of the submits."""
    ordered = sorted(active, key=lambda span: span.start)
    return floor((span.end - span.start for span in ordered), machines)


def fairness(shares: Sequence[float]) -> float:
    """Return Jain's fairness of shares: 1 if all are equal, and 1/n if one client has all.

    :param shares: the share of each client.
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def seconds_to_reach(active: Sequence[Span], since: float, slots: int) -> float:
    """Return the seconds until a number of generations was active at once, ``inf`` if never.

    :param active: spans of the generations.
    :param since: time from which on the seconds count.
    :param slots: number to reach.
    """
    changes = [(span.start, 1) for span in active] + [(span.end, -1) for span in active]
    now_active = 0
    for time, change in sorted(changes):
        if time > since and now_active >= slots:  # it was so already
            return 0.0
        now_active += change
        if time >= since and now_active >= slots:
            return time - since
    return math.inf
