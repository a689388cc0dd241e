"""Counts and money of a batch, as they are now."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from airflow_provider_flux.batch.row_policy import Outcome
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT

ALL_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
#: Outcomes for which there is an image.
HAVE_AN_IMAGE: tuple[Outcome, ...] = ("landed", "reused")
#: Outcomes that another try, with the same rows and arguments, may still turn into an image.
MAY_STILL_LAND: tuple[Outcome, ...] = ("failed", "submitted", "pending")
#: Sums of ten thousand prices are off by some such.
_ROUNDING = 1e-6


@dataclass
class Counters:
    """What has become of the rows, over all tries; and what it has cost, in credits (1 credit = 0.01 USD).

    :param rows: how many there are.
    :param max_active: how many tasks may be active at once.
    :param spent: what was paid, and what was possibly paid.
    :param reserved: expected cost of what is being submitted at this moment.
    :param reported: the part of ``spent`` that the service has said itself; the rest is by the price list.
    :param wasted: the part of ``spent`` that nothing comes of: lost, uncertain, or of a row that has changed.
    :param saved: what the rows that were reused would have cost.
    """

    rows: int
    max_active: int
    max_cost: float | None = None
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    uncertain_submits: int = 0
    fallbacks: int = 0
    submits: int = 0
    rate_limited: int = 0
    spent: float = 0.0
    reserved: float = 0.0
    reported: float = 0.0
    wasted: float = 0.0
    saved: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    _active: int = 0
    _moved_at: float = 0.0
    _active_seconds: float = 0.0
    _first: tuple[float, float] | None = None
    _last: tuple[float, float] | None = None

    @property
    def done(self) -> int:
        """Rows that have ended."""
        return sum(self.outcomes.values())

    @property
    def images(self) -> int:
        """Rows there is an image for."""
        return sum(self.outcomes[outcome] for outcome in HAVE_AN_IMAGE)

    def fits(self, estimate: float | None) -> bool:
        """Whether one more submit stays within ``max_cost``."""
        if self.max_cost is None:
            return True
        return self.spent + self.reserved + (estimate or 0.0) <= self.max_cost + _ROUNDING

    def became_active(self, now: float) -> None:
        """Count a submit that was answered with a task."""
        self.submits += 1
        self._move(now, 1)
        self._last = now, self._active_seconds
        self._first = self._first or self._last

    def adopted(self, now: float) -> None:
        """Count a task that an earlier try has submitted."""
        self._move(now, 1)

    def was_ended(self, now: float, *, unseen: float = 0.0) -> None:
        """Count a task that was seen to have ended.

        :param unseen: seconds in which it must have ended: half of them it was probably active.
        """
        self._move(now, -1)
        self._active_seconds -= unseen / 2

    def _move(self, now: float, change: int) -> None:
        self._active_seconds += self._active * (now - self._moved_at)
        self._active, self._moved_at = self._active + change, now

    def charge(self, credits_: float | None, *, is_reported: bool) -> None:
        """Count what a submit, or the settlement of one, has cost; negative for what is given back."""
        self.spent += credits_ or 0.0
        self.reported += (credits_ or 0.0) if is_reported else 0.0

    def lose(self, credits_: float | None) -> None:
        """Count what was paid for nothing."""
        self.wasted += credits_ or 0.0

    def quota_share(self) -> float | None:
        """Return the part of the quota that was used between the first and the last submit; ``None`` for a few rows.

        When a task has ended is known as closely as it was polled.
        """
        if self._first is None or self._last is None or self.submits <= self.max_active:
            return None
        (began, before), (ended, after) = self._first, self._last
        return (
            round((after - before) / (self.max_active * (ended - began)), 4)
            if ended > began
            else None
        )

    def summary(
        self, outcomes: Mapping[Outcome, int], *, estimated: float, seconds: float
    ) -> dict[str, Any]:
        """Return what the task hands on: counts, credits and times, never the rows.

        :param outcomes: how many rows there are of each outcome, those that have not ended included.
        :param estimated: what all rows to submit were expected to cost before the start.
        """
        return {
            "rows": self.rows,
            **{name: outcomes.get(name, 0) for name in ALL_OUTCOMES},
            "uncertain_submits": self.uncertain_submits,
            "fallbacks": self.fallbacks,
            "credits": _credits(self.spent),
            "usd": round(self.spent * USD_PER_CREDIT, 4),
            "credits_reported": _credits(self.reported),
            "credits_estimated": _credits(self.spent - self.reported),
            "credits_expected": _credits(estimated),
            "credits_wasted": _credits(self.wasted),
            "credits_saved": _credits(self.saved),
            "seconds": round(seconds, 1),
            "p50_seconds": self._quantile(0.5),
            "p95_seconds": self._quantile(0.95),
            "quota_share": self.quota_share(),
            "rate_limited": self.rate_limited,
        }

    def _quantile(self, share: float) -> float | None:
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 3)


def _credits(number: float) -> float:
    return round(number, 4)
