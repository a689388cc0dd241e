"""Statistics of an emulator: its counts, and a timeline of its tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypedDict

from airflow_provider_flux.emulator.tasks import Task


class Stats(TypedDict):
    """The counts of an emulator since it was started or reset.

    - ``submits``: tasks made (and charged). ``submits_per_prompt`` and ``submits_per_model`` have
      the same by prompt and by model.
    - ``refused``: submits that made no task.
    - ``polls`` and ``downloads``: requests, whatever their answer.
    - ``webhooks``: webhooks that the receiver accepted; ``webhooks_failed``: the others.
    - ``credits_spent``: credits charged, without the ``credits_refunded``.
    - ``active``: tasks that have not ended; ``max_active``: the most at any time.
    - ``key_seen_on_delivery``: downloads with an API key, which a client should never send there.
    - ``license_generations``: generations reported for the open weights, by model.
    """

    submits: int
    submits_per_prompt: dict[str, int]
    submits_per_model: dict[str, int]
    refused: int
    polls: int
    downloads: int
    webhooks: int
    webhooks_failed: int
    credits_spent: float
    credits_refunded: float
    active: int
    max_active: int
    key_seen_on_delivery: int
    license_generations: dict[str, int]


class TimelineTask(TypedDict):
    """One task. Times are epoch seconds.

    - ``prompt``: the prompt as it was sent; ``model``: name of the model.
    - ``submitted_at``: the submit.
    - ``ends_at``: the end; ``None`` if it never ends, or its inputs are pending.
    - ``polls``: number of polls so far.
    - ``outcome``: the final status; ``None`` before the end.
    - ``faults``: the faults of its script, without those that a draw left out.
    """

    prompt: str
    model: str
    submitted_at: float
    ends_at: float | None
    polls: int
    outcome: str | None
    faults: list[str]


class Timeline(TypedDict):
    """The history of an emulator.

    - ``tasks``: its tasks in the order of their submits.
    - ``refused``: the submits that made no task, by HTTP status.
    """

    tasks: list[TimelineTask]
    refused: dict[str, int]


def build_timeline(tasks: Iterable[Task], refused: Mapping[int, int], now: float) -> Timeline:
    """Return the timeline of an emulator.

    :param tasks: its tasks in the order of their submits.
    :param refused: number of refused submits by HTTP status.
    :param now: epoch seconds.
    """
    counts = {str(status): refused[status] for status in sorted(refused)}
    return Timeline(tasks=[_timeline_task(task, now) for task in tasks], refused=counts)


def _timeline_task(task: Task, now: float) -> TimelineTask:
    return TimelineTask(
        prompt=task.prompt,
        model=task.model.name,
        submitted_at=task.submitted_at,
        ends_at=task.ends_at if task.ends_at < math.inf else None,
        polls=task.polls,
        outcome=str(task.outcome.status) if task.ends_at <= now else None,
        faults=list(task.faults),
    )
