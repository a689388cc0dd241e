"""Progress of a batch for the log and the task state store."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.batch.report.counters import WITH_IMAGE, Counters

#: Seconds over which the rate is measured.
_RATE_WINDOW_SECONDS = 60.0
#: Seconds between two log lines: few while a user watches the start, then one minute.
_FIRST_PAUSE_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 60.0
_PAUSE_GROWTH = 1.5


class Progress:
    """Decides when to report the progress of a batch, and measures it.

    All times are seconds of one monotonic clock.

    :param counters: counters of the batch, which change while it works.
    :param now: start of this try.
    """

    def __init__(self, counters: Counters, now: float) -> None:
        self._counters = counters
        self._started_at = now
        self._pause = _FIRST_PAUSE_SECONDS
        self._next_at = now + _FIRST_PAUSE_SECONDS
        #: Times of earlier reports, each with the rows that had ended then.
        self._samples: deque[tuple[float, int]] = deque([(now, counters.done)])

    def is_due(self, now: float) -> bool:
        """Return whether it is time for a log line. If so, the next one is scheduled.

        :param now: current time in seconds.
        """
        if now < self._next_at:
            return False
        self._pause = min(self._pause * _PAUSE_GROWTH, _MAX_PAUSE_SECONDS)
        self._next_at = now + self._pause
        return True

    def report(self, now: float, *, active: int) -> dict[str, Any]:
        """Measure the progress.

        :param now: current time in seconds.
        :param active: active generations.
        :return: JSON values. ``rate`` is in rows per second over the last minute. ``seconds_left``
            is the time for the other rows at that rate, ``None`` if it is 0.
        """
        counters = self._counters
        self._samples.append((now, counters.done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _RATE_WINDOW_SECONDS:
            self._samples.popleft()

        since, done_before = self._samples[0]
        span = now - since
        rate = (counters.done - done_before) / span if span > 0 else 0.0
        rows_left = counters.rows - counters.done
        without_image: dict[str, int] = {
            outcome: count
            for outcome, count in sorted(counters.outcomes.items())
            if count and outcome not in WITH_IMAGE
        }
        return {
            "rows": counters.rows,
            "done": counters.done,
            "images": counters.images,
            **without_image,
            "active": active,
            "rate": round(rate, 2),
            "seconds_left": round(rows_left / rate) if rate else None,
            "credits": round(counters.spent, 4),
            "seconds": round(now - self._started_at, 1),
        }


def format_report(report: Mapping[str, Any], max_cost: float | None) -> str:
    """Format a report as one log line.

    :param report: report of :meth:`Progress.report`.
    :param max_cost: credits that the batch may spend, ``None`` for no limit.
    """
    rows, done = report["rows"], report["done"]
    parts = [
        f"{done:,} of {rows:,} rows ({100 * done / max(rows, 1):.1f} %)",
        f"{report['images']:,} images",
    ]
    parts += [
        f"{report[outcome]:,} {outcome}"
        for outcome in ("moderated", "rejected", "invalid", "failed", "uncertain", "lost")
        if outcome in report
    ]
    parts.append(f"{report['active']} active")
    parts.append(f"{report['rate']:g} rows/s")
    if report["seconds_left"] is not None and done < rows:
        parts.append(f"about {format_duration(report['seconds_left'])} left")
    limit = "" if max_cost is None else f" of {max_cost:,g}"
    parts.append(f"{report['credits']:,g}{limit} credits")
    return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours.

    :param seconds: the duration.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
