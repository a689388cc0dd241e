"""Figures of a batch, from what the emulator says of each task: how much of the quota was used, how soon it could end.

Times are epoch seconds, as in the emulator's timeline. Pure.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """When one task was active: from its submit to its end, ``math.inf`` if it has none."""

    start: float
    end: float

    def within(self, phase: Span) -> float:
        """Return for how many seconds of a phase it was active."""
        return max(0.0, min(self.end, phase.end) - max(self.start, phase.start))


def spans(tasks: Iterable[dict[str, Any]]) -> list[Span]:
    """Return when each task of a timeline was active."""
    return [
        Span(task["submitted_at"], math.inf if task["ends_at"] is None else task["ends_at"])
        for task in tasks
    ]


def submitting_phase(active: Sequence[Span]) -> Span:
    """Return the time from the first submit to the last."""
    starts = [span.start for span in active]
    return Span(min(starts), max(starts))


def common_phase(batches: Iterable[Sequence[Span]]) -> Span:
    """Return the time in which all batches were submitting; it is empty (``end <= start``) if there was none."""
    phases = [submitting_phase(batch) for batch in batches]
    return Span(max(phase.start for phase in phases), min(phase.end for phase in phases))


def quota_use(active: Iterable[Span], phase: Span, limit: int) -> float:
    """Return which share of ``limit`` tasks at any time was used in a phase, 0 to 1; 0 if the phase is empty."""
    length = phase.end - phase.start
    return sum(span.within(phase) for span in active) / (limit * length) if length > 0 else 0.0


def floor(latencies: Iterable[float], machines: int) -> float:
    """Return how long list scheduling takes: each task begins, in this order, the moment a machine is free."""
    free_at = [0.0] * machines
    for latency in latencies:
        heapq.heapreplace(free_at, free_at[0] + latency)
    return max(free_at)


def floor_of(active: Iterable[Span], machines: int) -> float:
    """Return the floor of the latencies that were drawn, in the order of the submits."""
    return floor(
        (span.end - span.start for span in sorted(active, key=lambda span: span.start)), machines
    )
