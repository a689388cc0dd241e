"""Counters of a batch: rows, submits, credits and times."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.batch.survey import ROUNDING_ERROR
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.observability.metrics import MetricBuffer

ALL_OUTCOMES: tuple[RowOutcome, ...] = get_args(RowOutcome)
#: Outcomes of rows that have an image.
WITH_IMAGE: tuple[RowOutcome, ...] = ("landed", "reused")
#: Outcomes that a retry with the same rows and arguments may still turn into an image.
RETRYABLE: tuple[RowOutcome, ...] = ("failed", "submitted", "pending")


@dataclass
class Counters:
    """Rows by outcome and the cost of the batch over all tries, in credits (1 credit = 0.01 USD).

    Times are seconds of one monotonic clock.

    :param rows: number of rows in the input.
    :param max_active: generations that may be active at once.
    :param max_cost: credits that the batch may spend, ``None`` for no limit.
    :param outcomes: number of rows that have ended, by outcome.
    :param uncertain_submits: submits whose answer was lost. Each was possibly billed.
    :param fallbacks: rows that were submitted with their fallback in this try.
    :param rerolls: rows that were submitted again in this try, because a check rejected the image.
    :param balance: credits of the account before the first submit of this try; ``None`` if it was
        not read.
    :param spent_before: ``spent`` at that time.
    :param submits: submits that the service accepted in this try.
    :param rate_limited: submits that the service refused with 429 in this try.
    :param spent: cost of all submits that were billed or possibly billed.
    :param reserved: expected cost of the submits that wait for their answer.
    :param reported: part of ``spent`` that the service reported. The rest is from the price list.
    :param possible: part of ``spent`` of the uncertain submits, which were possibly billed.
    :param gone: part of ``spent`` of rows that the input of this try does not have.
    :param wasted: part of ``spent`` that gave no image of the batch: the result was lost, the
        submit is uncertain, or the row has changed.
    :param saved: expected cost of the rows that reused an image.
    :param latencies: seconds from the submit until the result was ready, of the rows of this try.
    :param metrics: metrics of this try, which are sent while it works.
    :param price_factors: by model, how much dearer than by the price list BFL bills, at least 1.
        A model is in it once BFL accepted a submit of this try.
    :param is_strict: whether ``max_cost`` is kept by these factors, too.
    """

    rows: int
    max_active: int
    max_cost: float | None = None
    outcomes: Counter[RowOutcome] = field(default_factory=Counter)
    uncertain_submits: int = 0
    fallbacks: int = 0
    rerolls: int = 0
    balance: float | None = None
    spent_before: float = 0.0
    submits: int = 0
    rate_limited: int = 0
    spent: float = 0.0
    reserved: float = 0.0
    reported: float = 0.0
    possible: float = 0.0
    gone: float = 0.0
    wasted: float = 0.0
    saved: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    metrics: MetricBuffer = field(default_factory=MetricBuffer)
    price_factors: dict[str, float] = field(default_factory=dict)
    is_strict: bool = False
    _active: int = 0
    _changed_at: float = 0.0
    _active_seconds: float = 0.0
    #: Time of the first and of the last accepted submit, each with ``_active_seconds`` at that
    #: time.
    _first_submit: tuple[float, float] | None = None
    _last_submit: tuple[float, float] | None = None

    @property
    def done(self) -> int:
        """Rows that have ended."""
        return sum(self.outcomes.values())

    @property
    def images(self) -> int:
        """Rows that have an image."""
        return sum(self.outcomes[outcome] for outcome in WITH_IMAGE)

    def can_afford(self, estimate: float | None) -> bool:
        """Return whether one more submit stays within ``max_cost``.

        :param estimate: expected cost in credits. An unknown cost, ``None``, fits into no limit.
        """
        if self.max_cost is None:
            return True
        if estimate is None:
            return False
        factor = max(self.price_factors.values(), default=1.0) if self.is_strict else 1.0
        expected = self.spent + (self.reserved + estimate) * factor
        return expected <= self.max_cost + ROUNDING_ERROR

    def must_wait_for_price(self, model: str) -> bool:
        """Return whether BFL has to answer a first submit of a model before the next one.

        Its cost tells whether BFL bills more than the price list says, before many submits do.

        :param model: the model.
        """
        return self.is_strict and self.max_cost is not None and model not in self.price_factors

    def record_price(self, model: str, cost: float | None, estimate: float | None) -> None:
        """Compare a cost with the price list, for the submits that follow.

        :param model: the model.
        :param cost: credits that BFL bills; ``None`` if that is not known.
        :param estimate: credits by the price list; ``None`` if it has no price.
        """
        factor = cost / estimate if cost and estimate else 1.0
        self.price_factors[model] = max(self.price_factors.get(model, 1.0), factor)

    def can_afford_reroll(self, estimate: float | None, pending: float) -> bool:
        """Return whether one more attempt leaves enough for all rows that are still to be tried.

        :param estimate: expected cost in credits. An unknown cost, ``None``, fits into no limit.
        :param pending: expected cost of the rows that BFL has not accepted yet.
        """
        limits = [
            limit
            for limit in (
                self.max_cost,
                None if self.balance is None else self.balance + self.spent_before,
            )
            if limit is not None
        ]
        if not limits:
            return True
        if estimate is None:
            return self.max_cost is None
        return self.spent + pending + estimate <= min(limits) + ROUNDING_ERROR

    def describe_spent(self, unit: str = " credits") -> str:
        """Return the amount that was spent, and the part of it that is not certain.

        :param unit: text after the amount.
        """
        possibly = f" ({self.possible:g} of them possibly)" if self.possible else ""
        return f"{self.spent:g}{unit}{possibly}"

    def record_submit(self, now: float) -> None:
        """Count a submit that the service accepted.

        :param now: time of its answer.
        """
        self.submits += 1
        self._change_active(now, 1)
        self._last_submit = now, self._active_seconds
        self._first_submit = self._first_submit or self._last_submit

    def record_resumed(self, now: float) -> None:
        """Count an active generation that an earlier try submitted.

        :param now: time at which this try resumes it.
        """
        self._change_active(now, 1)

    def record_end(self, now: float, *, unseen: float = 0.0) -> None:
        """Count a generation that has ended.

        :param now: time of the poll that found it ended.
        :param unseen: seconds since the poll before. The generation is taken to have ended halfway.
        """
        self._change_active(now, -1)
        self._active_seconds -= unseen / 2

    def _change_active(self, now: float, change: int) -> None:
        self._active_seconds += self._active * (now - self._changed_at)
        self._active, self._changed_at = self._active + change, now

    def charge(self, credits_: float | None, *, is_reported: bool) -> None:
        """Add the cost of a submit.

        :param credits_: cost in credits, negative for a refund. ``None``, for an unknown cost,
            counts as 0.
        :param is_reported: whether the service reported this cost.
        """
        self.spent += credits_ or 0.0
        self.reported += (credits_ or 0.0) if is_reported else 0.0

    def record_lost_answer(self, estimate: float | None) -> None:
        """Count a submit whose answer is not known. It counts as billed, and for nothing.

        :param estimate: expected cost in credits. ``None``, for an unknown cost, counts as 0.
        """
        self.uncertain_submits += 1
        self.possible += estimate or 0.0
        self.charge(estimate, is_reported=False)
        self.add_waste(estimate)

    def add_waste(self, credits_: float | None) -> None:
        """Add the cost of a submit that gave no image of the batch.

        :param credits_: cost in credits. ``None``, for an unknown cost, counts as 0.
        """
        self.wasted += credits_ or 0.0

    @property
    def quota_share(self) -> float | None:
        """Share of ``max_active`` that was used between the first and the last submit.

        ``None`` if there were too few submits to fill the quota. The end of each generation is
        accurate to one poll interval.
        """
        if self._first_submit is None or self._last_submit is None:
            return None
        (started, active_before), (ended, active_after) = self._first_submit, self._last_submit
        if self.submits <= self.max_active or ended <= started:
            return None
        return round((active_after - active_before) / (self.max_active * (ended - started)), 4)

    def summarize(
        self, outcomes: Mapping[RowOutcome, int], *, estimated: float, seconds: float
    ) -> dict[str, Any]:
        """Return the summary that the task returns: counts, credits and times, but no rows.

        :param outcomes: number of rows by outcome, including those that have not ended.
        :param estimated: expected cost in credits of all rows to submit, before the first submit.
        :param seconds: duration of this try.
        :return: a flat dict of JSON values.
        """
        return {
            "rows": self.rows,
            **{name: outcomes.get(name, 0) for name in ALL_OUTCOMES},
            "uncertain_submits": self.uncertain_submits,
            "fallbacks": self.fallbacks,
            "rerolls": self.rerolls,
            "credits": _round_credits(self.spent),
            "usd": round(self.spent * USD_PER_CREDIT, 4),
            "credits_reported": _round_credits(self.reported),
            "credits_estimated": _round_credits(self.spent - self.reported),
            "credits_uncertain": _round_credits(self.possible),
            "credits_gone_rows": _round_credits(self.gone),
            "credits_expected": _round_credits(estimated),
            "credits_wasted": _round_credits(self.wasted),
            "credits_saved": _round_credits(self.saved),
            "seconds": round(seconds, 1),
            "p50_seconds": self._latency_quantile(0.5),
            "p95_seconds": self._latency_quantile(0.95),
            "quota_share": self.quota_share,
            "rate_limited": self.rate_limited,
        }

    def _latency_quantile(self, quantile: float) -> float | None:
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return round(ordered[min(int(quantile * len(ordered)), len(ordered) - 1)], 3)


def _round_credits(number: float) -> float:
    return round(number, 4)
