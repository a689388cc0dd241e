"""Limits on the rows without an image, and on the cost, after which a batch fails."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.batch.report.counters import RETRYABLE
from airflow_provider_flux.batch.row_policy import OnInvalidRow
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)
from airflow_provider_flux.ledger.resume_policy import OnUncertain

log = logging.getLogger(__name__)

#: Rows by which a share may be off in floating point: 0.29 * 100 is a little less than 29.
_ROUNDING_ERROR = 1e-6
_WITHOUT_IMAGE = ("failed", "uncertain", "lost", "submitted", "pending")


@dataclass(frozen=True)
class RowThreshold:
    """Number of rows, or share of all rows, that may end in some way before the task fails.

    :param name: argument of the operator that sets it.
    :param maximum: number of rows, or share of them from 0 to 1. ``None`` allows any number.
    :param is_share: whether ``maximum`` is a share.
    """

    name: str
    maximum: float | None
    is_share: bool = False

    @classmethod
    def parse(cls, name: str, value: Any) -> RowThreshold:
        """Parse a number of rows, or a share of them such as ``0.02`` or ``"2%"``.

        Text counts as the number it stands for, because templates give text. Empty text is refused:
        it may come from a parameter that nobody has set, so it must not mean "no limit".

        :param name: argument of the operator, for errors.
        :param value: the argument. ``None`` allows any number.
        :raises FluxRequestError: if the value is neither a number nor a share.
        """
        if value is None:
            return cls(name, None)
        text = str(value).strip()
        is_percent = text.endswith("%")
        number = None if isinstance(value, bool) else _parse_number(text.removesuffix("%"))
        if number is not None and is_percent and number <= 100:
            return cls(name, number / 100, is_share=True)
        if number is not None and not is_percent and (number < 1 or number == int(number)):
            return cls(name, number, is_share=0 < number < 1)
        raise FluxRequestError(
            f'{name}={value!r} must be a number of rows, or a share of them like 0.02 or "2%".'
        )

    def is_exceeded(self, count: int, rows: int) -> bool:
        """Return whether too many rows ended in that way.

        :param count: rows that did.
        :param rows: all rows of the batch.
        """
        if self.maximum is None:
            return False
        return count > (self.maximum * rows + _ROUNDING_ERROR if self.is_share else self.maximum)

    def __str__(self) -> str:
        """Return the argument as a user writes it."""
        if self.maximum is None:
            return f"{self.name}=None"
        return (
            f"{self.name}={100 * self.maximum:g}%"
            if self.is_share
            else f"{self.name}={self.maximum:g}"
        )


def parse_max_cost(value: Any) -> float | None:
    """Parse ``max_cost``, an amount of credits.

    Text counts as the number it stands for. Empty text is refused, as by
    :meth:`RowThreshold.parse`.

    :param value: the argument of the operator. ``None`` means no limit.
    :return: credits, 0 or more, or ``None``.
    :raises FluxRequestError: if the value is no such amount.
    """
    if value is None:
        return None
    number = None if isinstance(value, bool) else _parse_number(str(value).strip())
    if number is None:
        raise FluxRequestError(f"max_cost={value!r} must be credits, 0 or more.")
    return number


def check_thresholds(
    summary: Mapping[str, Any],
    error: FluxError | None,
    *,
    max_failed: RowThreshold,
    max_moderated: RowThreshold,
    max_rejected: RowThreshold,
    on_invalid_row: OnInvalidRow,
    on_uncertain: OnUncertain,
) -> None:
    """Fail the task if it stopped early, or if too many rows have no image.

    :param summary: summary of the batch, from ``Counters.summarize``, with the URI of its manifest.
    :param error: reason why the batch stopped early, ``None`` if it tried all rows.
    :param max_failed: rows that may be without an image for a reason other than moderation.
    :param max_moderated: rows that may be moderated.
    :param max_rejected: rows whose image checks may reject.
    :param on_invalid_row: ``skip`` if rows that the service, or one of their inputs, showed to be
        invalid do not count as failed.
    :param on_uncertain: ``resubmit`` if this try submitted uncertain rows again.
    :raises FluxBatchError: if a threshold is exceeded and a retry may help.
    :raises AirflowFailException: if a threshold is exceeded and a retry cannot help.
    :raises FluxError: ``error``, if there is one.
    """
    notes = _describe_uncertain(summary, on_uncertain)
    if notes:
        log.warning("%s", notes)
    if error is not None:
        raise _with_retry(error, summary)
    problems = _find_exceeded(summary, max_failed, max_moderated, max_rejected, on_invalid_row)
    if not problems:
        return
    message = (
        f"{'; '.join(problems)}. The manifest {summary['manifest']} lists the outcome of each row."
    )
    if any(summary[outcome] for outcome in RETRYABLE):
        message = f"{message} A retry works only on the rows that may still succeed."
        raise FluxBatchError(" ".join(filter(None, [message, notes])))
    others = any(summary[outcome] for outcome in ("invalid", "lost", "moderated", "rejected"))
    remedy = "Fix these rows, or raise the limit, and clear the task." if others else ""
    end = " ".join(filter(None, ["Retrying will not help.", remedy, notes]))
    failure = FluxBatchError(f"{message} {end}")
    raise AirflowFailException(f"FluxBatchError: {failure.message} {failure.reference}")


def _with_retry(error: FluxError, summary: Mapping[str, Any]) -> FluxError:
    """Return the error of an early stop. It must not end retries that land rows for free."""
    submitted = summary["submitted"]
    is_about_money = isinstance(error, (FluxBudgetError, FluxInsufficientCreditsError))
    if not (is_about_money and submitted):
        return error
    return FluxBatchError(
        f"{type(error).__name__}: {error.message} {submitted} rows are billed and have not landed. "
        "A retry lands them and submits nothing."
    )


def _describe_uncertain(summary: Mapping[str, Any], on_uncertain: OnUncertain) -> str:
    """Return what the uncertain rows may have cost, and what a user can do about them."""
    count = summary["uncertain"]
    if not count:
        return ""
    clear = "clear the task" + (
        ", or set on_uncertain='resubmit'" if on_uncertain == "fail" else ""
    )
    images = summary["landed"] + summary["reused"]
    return (
        f"{images} of {summary['rows']} rows have their image. The answer to the last submit of "
        f"{count} rows is not known. BFL possibly billed them: {summary['credits_uncertain']:g} "
        f"credits for all uncertain submits. There are two ways out. To get these images, {clear}: "
        "then it submits only these rows again, and BFL may bill them twice. To go on without "
        f"them, set max_failed to {count} or more."
    )


def _find_exceeded(
    summary: Mapping[str, Any],
    max_failed: RowThreshold,
    max_moderated: RowThreshold,
    max_rejected: RowThreshold,
    on_invalid_row: OnInvalidRow,
) -> list[str]:
    """Return a sentence for each threshold that is exceeded."""
    problems = []
    trimmed = summary.get("trimmed", 0)
    rows, moderated = summary["rows"] - trimmed, summary["moderated"]
    counted = _WITHOUT_IMAGE if on_invalid_row == "skip" else (*_WITHOUT_IMAGE, "invalid")
    # Rows beyond the budget were not tried: they neither fail the task nor dilute a share.
    tried = {**summary, "pending": summary["pending"] - trimmed}
    counts = {outcome: tried[outcome] for outcome in counted if tried[outcome]}
    without_image = sum(counts.values())
    if max_failed.is_exceeded(without_image, rows):
        listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        problems.append(
            f"{without_image} of {rows} rows have no image ({listed}), "
            f"more than {max_failed} allows"
        )
    if max_moderated.is_exceeded(moderated, rows):
        problems.append(
            f"{moderated} of {rows} rows were moderated, more than {max_moderated} allows"
        )
    rejected = summary["rejected"]
    if max_rejected.is_exceeded(rejected, rows):
        problems.append(
            f"{rejected} of {rows} rows have an image that checks rejected, more than "
            f"{max_rejected} allows"
        )
    return problems


def _parse_number(text: str) -> float | None:
    """Return a finite number that is not negative, or ``None`` if the text is no such number."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
