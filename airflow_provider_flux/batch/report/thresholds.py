"""How many rows may end without an image, and what becomes of the task then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.batch.report.counters import MAY_STILL_LAND
from airflow_provider_flux.batch.row_policy import OnInvalidRow
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxError, FluxRequestError

_ROUNDING = 1e-6
_WITHOUT_IMAGE = ("failed", "uncertain", "lost", "submitted", "pending")


@dataclass(frozen=True)
class Threshold:
    """A number of rows, a share of them, or an amount of credits.

    :param most: the number; ``None`` for any.
    :param is_share: whether it is a part of all rows, from 0 to 1.
    """

    name: str
    most: float | None
    is_share: bool = False

    @classmethod
    def of(cls, name: str, value: Any) -> Threshold:
        """Read an argument: a number, a share as ``0.02`` or ``"2%"``, or ``None``; also as text that a template gave.

        Text that came out empty is no "no limit": it may be a parameter of the DAG run that nobody has given.

        :raises FluxRequestError: naming the argument, its value and what it may be.
        """
        is_cost = name == "max_cost"
        text = str(value).strip()
        if value is None:
            return cls(name, None)
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = -1.0
        is_percent = text.endswith("%")
        is_whole = number == int(number) if abs(number) < float("inf") else False
        fits = 0 <= number < float("inf") and (is_cost or is_percent or is_whole or number < 1)
        if isinstance(value, bool) or not fits or (is_percent and (is_cost or number > 100)):
            allowed = (
                "credits, 0 or more"
                if is_cost
                else 'a number of rows, or a share of them like 0.02 or "2%"'
            )
            raise FluxRequestError(f"{name}={value!r} must be {allowed}.")
        if is_percent:
            return cls(name, number / 100, True)
        return cls(name, number, not is_cost and 0 < number < 1)

    def is_exceeded(self, count: int, rows: int) -> bool:
        """Whether so many of so many rows are too many."""
        if self.most is None:
            return False
        return count > (self.most * rows + _ROUNDING if self.is_share else self.most)

    def __str__(self) -> str:
        """Return it as it is written."""
        if self.most is None:
            return f"{self.name}=None"
        return (
            f"{self.name}={100 * self.most:g}%" if self.is_share else f"{self.name}={self.most:g}"
        )


def judge(
    summary: Mapping[str, Any],
    error: FluxError | None,
    *,
    max_failed: Threshold,
    max_moderated: Threshold,
    on_invalid_row: OnInvalidRow,
) -> None:
    """Decide the state of a task whose rows have been tried.

    :param error: why not all have been tried; ``None`` if they have.
    :param on_invalid_row: whether rows that only the service, or their inputs, have shown to be invalid may be
        passed over.
    :raises FluxBatchError: if too many rows have no image, and another try may help.
    :raises AirflowFailException: if none can.
    :raises FluxError: ``error``.
    """
    if error is not None:
        raise error
    rows, moderated = summary["rows"], summary["moderated"]
    counted = _WITHOUT_IMAGE if on_invalid_row == "skip" else (*_WITHOUT_IMAGE, "invalid")
    counts = {name: summary[name] for name in counted if summary[name]}
    without = sum(counts.values())
    faults = []
    if max_failed.is_exceeded(without, rows):
        named = ", ".join(f"{count} {name}" for name, count in counts.items())
        faults.append(
            f"{without} of {rows} rows have no image ({named}), more than {max_failed} allows for"
        )
    if max_moderated.is_exceeded(moderated, rows):
        faults.append(
            f"{moderated} of {rows} rows were moderated, more than {max_moderated} allows for"
        )
    if not faults:
        return
    said = f"{'; '.join(faults)}. What became of each is in {summary['manifest']}."
    if any(summary[name] for name in MAY_STILL_LAND):
        raise FluxBatchError(
            f"{said} A retry works on those that may still succeed, and on no others."
        )
    raise AirflowFailException(
        f"FluxBatchError: {said} A retry would change nothing: mend those rows, or raise the limit, and clear the task."
    )
