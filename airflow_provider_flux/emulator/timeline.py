"""What became of each task, for who judges a load test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypedDict

from airflow_provider_flux.emulator.tasks import Task


class TimelineTask(TypedDict):
    """One task. Times are epoch seconds.

    ``ends_at`` is ``None`` if it never ends, or that is not known yet; ``outcome`` is the status it ended with, and
    ``None`` before; ``faults`` names what was in its script, without what chance has spared it.
    """

    prompt: str
    model: str
    submitted_at: float
    ends_at: float | None
    polls: int
    outcome: str | None
    faults: list[str]


class Timeline(TypedDict):
    """The tasks in the order in which they were made, and the submits that made none, by HTTP status."""

    tasks: list[TimelineTask]
    refused: dict[str, int]


def timeline_of(tasks: Iterable[Task], refused: Mapping[int, int], now: float) -> Timeline:
    """Return the timeline as it stands at ``now``."""
    counts = {str(status): refused[status] for status in sorted(refused)}
    return Timeline(tasks=[_told(task, now) for task in tasks], refused=counts)


def _told(task: Task, now: float) -> TimelineTask:
    return TimelineTask(
        prompt=task.prompt,
        model=task.model.name,
        submitted_at=task.submitted_at,
        ends_at=task.ends_at if task.ends_at < math.inf else None,
        polls=task.polls,
        outcome=str(task.outcome.status) if task.ends_at <= now else None,
        faults=list(task.faults),
    )
