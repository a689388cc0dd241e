"""What a batch says while it works, at a pace that people read."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.batch.report.counters import WITH_IMAGE, Counters

#: Seconds over which the speed is taken.
_WINDOW = 60.0
#: Seconds between two lines in the log: few at first, when one looks; then one a minute.
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_SLOWER = 1.5


class Progress:
    """Decide when to say something, and what. Times are seconds of a monotonic clock."""

    def __init__(self, tally: Counters, now: float) -> None:
        self._tally = tally
        self._pause = _FIRST_PAUSE
        self._next = now + _FIRST_PAUSE
        self._began = now
        self._seen: deque[tuple[float, int]] = deque([(now, tally.done)])

    def is_due(self, now: float) -> bool:
        """Whether it is time for a line."""
        if now < self._next:
            return False
        self._pause = min(self._pause * _SLOWER, _LONGEST_PAUSE)
        self._next = now + self._pause
        return True

    def report(self, now: float, *, active: int) -> dict[str, Any]:
        """Return how far it is.

        ``rate`` is in rows a second over the last minute, ``seconds_left`` what the rest takes at that speed.
        """
        tally = self._tally
        self._seen.append((now, tally.done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        began, before = self._seen[0]
        span = now - began
        rate = (tally.done - before) / span if span > 0 else 0.0
        left = tally.rows - tally.done
        return {
            "rows": tally.rows,
            "done": tally.done,
            "images": tally.images,
            **{
                name: count
                for name, count in sorted(tally.outcomes.items())
                if count and name not in WITH_IMAGE
            },
            "active": active,
            "rate": round(rate, 2),
            "seconds_left": round(left / rate) if rate else None,
            "credits": round(tally.spent, 4),
            "seconds": round(now - self._began, 1),
        }


def format_report(report: Mapping[str, Any], max_cost: float | None) -> str:
    """Return a report as a line of the log."""
    rows, done = report["rows"], report["done"]
    said = [
        f"{done:,} of {rows:,} rows ({100 * done / max(rows, 1):.1f} %)",
        f"{report['images']:,} images",
    ]
    said += [
        f"{report[name]:,} {name}"
        for name in ("moderated", "invalid", "failed", "uncertain", "lost")
        if name in report
    ]
    said.append(f"{report['active']} active")
    said.append(f"{report['rate']:g} rows/s")
    if report["seconds_left"] is not None and done < rows:
        said.append(f"about {format_duration(report['seconds_left'])} left")
    limit = "" if max_cost is None else f" of {max_cost:,g}"
    said.append(f"{report['credits']:,g}{limit} credits")
    return ", ".join(said)


def format_duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
