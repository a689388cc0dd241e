"""Metrics of this provider: their names, and the only calls of Airflow's ``Stats``.

A metric never fails a task. Tags have few values: names of known models, and outcomes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock
from typing import Any, Literal

from airflow_provider_flux.configured_models import known_models

log = logging.getLogger(__name__)

#: Tag of a model that neither the catalog nor ``[flux] models`` names.
OTHER_MODEL = "other"


@dataclass(frozen=True)
class Metric:
    """One metric.

    :param name: name after the prefix of the deployment, which is ``airflow`` by default.
    :param kind: ``counter``, ``timer`` (milliseconds) or ``gauge``.
    :param tags: names of its tags.
    :param meaning: one line for the documentation.
    """

    name: str
    kind: Literal["counter", "timer", "gauge"]
    tags: tuple[str, ...]
    meaning: str


_MODEL = ("model",)
SUBMITS = Metric("flux.submits", "counter", _MODEL, "submits that BFL accepted")
OUTCOMES = Metric(
    "flux.outcomes",
    "counter",
    ("model", "outcome"),
    "generations of tasks, and rows of batches, by how they ended in a try",
)
RESUMED = Metric("flux.resumed", "counter", _MODEL, "generations resumed from an earlier try")
REUSED = Metric("flux.reused", "counter", _MODEL, "existing images in place of a submit")
UNCERTAIN = Metric("flux.uncertain", "counter", _MODEL, "submits whose answer was lost")
REROLLS = Metric(
    "flux.rerolls", "counter", _MODEL, "rows submitted again because a check rejected the image"
)
RATE_LIMITED = Metric("flux.rate_limited", "counter", _MODEL, "submits that BFL refused with 429")
CREDITS = Metric("flux.credits", "counter", _MODEL, "credits of accepted submits")
CREDITS_REFUNDED = Metric(
    "flux.credits_refunded",
    "counter",
    _MODEL,
    "part of them that BFL did not charge, for example after moderation",
)
QUEUE = Metric(
    "flux.queue.duration", "timer", _MODEL, "from the first POST until BFL accepted the submit"
)
GENERATION = Metric(
    "flux.generation.duration", "timer", _MODEL, "from the accepted submit until the result"
)
LANDING = Metric("flux.landing.duration", "timer", _MODEL, "from the result until it is stored")
QUOTA_SHARE = Metric(
    "flux.quota_share",
    "gauge",
    (),
    "active generations of a batch as a share of `max_active`, from 0 to 1",
)
METRICS = (
    SUBMITS,
    OUTCOMES,
    RESUMED,
    REUSED,
    UNCERTAIN,
    REROLLS,
    RATE_LIMITED,
    CREDITS,
    CREDITS_REFUNDED,
    QUEUE,
    GENERATION,
    LANDING,
    QUOTA_SHARE,
)


def count(metric: Metric, model: str, amount: float = 1, *, outcome: str | None = None) -> None:
    """Increase a counter.

    :param metric: the counter.
    :param model: model of the request.
    :param amount: amount to add, 1 by default. Nothing is sent for 0.
    :param outcome: value of the tag ``outcome``; ``None`` for a metric without it.
    """
    if amount > 0:
        number = _as_number(amount)
        _send(lambda stats: stats.incr(metric.name, count=number, tags=_tags_of(model, outcome)))


def record_duration(metric: Metric, model: str, seconds: float) -> None:
    """Record a duration.

    :param metric: the timer.
    :param model: model of the request.
    :param seconds: the duration in seconds. A negative one, of two clocks that differ, counts as 0.
    """
    milliseconds = max(seconds, 0.0) * 1000
    _send(lambda stats: stats.timing(metric.name, milliseconds, tags=_tags_of(model, None)))


def record_quota_share(share: float) -> None:
    """Set the share of the quota that a batch uses.

    :param share: active generations divided by ``max_active``.
    """
    _send(lambda stats: stats.gauge(QUOTA_SHARE.name, round(share, 4)))


class MetricBuffer:
    """Counters of a batch, added up until they are sent.

    The event loop of a batch adds to them, and sends nothing itself. Threads may share a buffer.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[tuple[Metric, str, str | None], float] = {}
        self._durations: list[tuple[Metric, str, float]] = []

    def count(
        self, metric: Metric, model: str, amount: float | None = 1, *, outcome: str | None = None
    ) -> None:
        """Increase a counter.

        :param metric: the counter.
        :param model: model of the request.
        :param amount: amount to add, 1 by default. ``None``, for unknown credits, adds nothing.
        :param outcome: value of the tag ``outcome``; ``None`` for a metric without it.
        """
        key = (metric, model, outcome)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + (amount or 0)

    def record_duration(self, metric: Metric, model: str, seconds: float) -> None:
        """Record a duration.

        :param metric: the timer.
        :param model: model of the request.
        :param seconds: the duration in seconds.
        """
        with self._lock:
            self._durations.append((metric, model, seconds))

    def flush(self) -> None:
        """Send all counts and durations since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
            durations, self._durations = self._durations, []
        for (metric, model, outcome), amount in counts.items():
            count(metric, model, amount, outcome=outcome)
        for metric, model, seconds in durations:
            record_duration(metric, model, seconds)


def _tags_of(model: str, outcome: str | None) -> Mapping[str, str]:
    tags = {"model": _tag_of(model)}
    return tags if outcome is None else {**tags, "outcome": outcome}


@lru_cache(maxsize=256)
def _tag_of(model: str) -> str:
    """Return the tag of a model. The configuration of a process does not change."""
    return model if model in known_models() else OTHER_MODEL


def _as_number(amount: float) -> Any:
    """Return an amount, which may have a fraction although Airflow declares whole numbers."""
    return int(amount) if amount == int(amount) else round(amount, 4)


@cache
def _stats() -> Any:
    """Return the ``Stats`` of Airflow, which common-compat looks up anew at each access."""
    from airflow.providers.common.compat.sdk import Stats  # not at DAG parse time

    return Stats


def _send(send: Callable[[Any], object]) -> None:
    """Send through the ``Stats`` of Airflow, whatever happens to the metric."""
    try:
        send(_stats())
    except Exception as error:
        log.debug("A metric could not be sent (%s)", type(error).__name__)
