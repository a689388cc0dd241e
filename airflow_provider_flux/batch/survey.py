"""Decide what a batch is about to pay, before its first submit. Pure: no store, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_flux.batch.row_policy import RowOutcome

#: What a batch does if its rows cost more than ``max_cost`` or the balance.
OnBudget = Literal["fail", "trim"]
#: What a batch does about the images of rows that the input does not have any more.
Prune = Literal["report", "delete"]
#: Credits by which the sum of ten thousand prices may be off in floating point.
ROUNDING_ERROR = 1e-6
#: Outcomes of rows whose image exists.
_UNCHANGED: tuple[RowOutcome, ...] = ("landed", "reused")
#: Figures of a batch that is not compared with its previous manifest.
NO_FIGURES: Mapping[str, int | None] = dict.fromkeys(("new", "changed", "unchanged", "gone"))
_OUTCOME_TEXTS: Mapping[RowOutcome, str] = {
    "submitted": "submitted before (free)",
    "rejected": "rejected before (free)",
}


@dataclass(frozen=True)
class SurveyCounts:
    """The rows of a batch before its first submit, compared with its previous manifest.

    :param rows: rows of the input.
    :param new: rows to submit that had no image.
    :param changed: rows to submit that had an image, of another request.
    :param unchanged: rows whose image exists. They cost nothing.
    :param gone: rows of the previous manifest that had an image, and that the input does not have.
    :param others: number of all other rows, by outcome.
    """

    rows: int
    new: int
    changed: int
    unchanged: int
    gone: int
    others: Mapping[RowOutcome, int] = field(default_factory=dict)

    @classmethod
    def count(cls, groups: Iterable[tuple[RowOutcome, bool, int]], *, gone: int) -> SurveyCounts:
        """Sum up groups of rows.

        :param groups: outcome, whether the previous manifest has an image of the row, and number of
            the rows of each group. Rows to submit have the outcome ``pending``.
        :param gone: rows of the previous manifest that the input does not have.
        """
        new = changed = unchanged = 0
        others: dict[RowOutcome, int] = {}
        for outcome, had_image, count in groups:
            if outcome in _UNCHANGED:
                unchanged += count
            elif outcome != "pending":
                others[outcome] = others.get(outcome, 0) + count
            elif had_image:
                changed += count
            else:
                new += count
        rows = new + changed + unchanged + sum(others.values())
        return cls(rows, new, changed, unchanged, gone, others)

    def describe(self) -> str:
        """Return the counts as one line."""
        parts = [
            f"{self.new} new",
            f"{self.changed} changed",
            f"{self.unchanged} unchanged (free)",
            f"{self.gone} gone",
            *(
                f"{count} {_OUTCOME_TEXTS.get(outcome, outcome)}"
                for outcome, count in sorted(self.others.items())
            ),
        ]
        return f"{self.rows} {'row' if self.rows == 1 else 'rows'}: {', '.join(parts)}"

    def figures(self) -> dict[str, int]:
        """Return the counts for the summary of the batch."""
        return {
            "new": self.new,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "gone": self.gone,
        }


def find_first_beyond(prices: Iterable[tuple[int, float | None]], budget: float) -> int | None:
    """Return the first row that does not fit into a budget, together with all rows before it.

    The rows that fit are a prefix: a cheap row behind the first one that does not fit stays behind
    it, so that the order of the input alone decides.

    :param prices: index and expected cost of each row to submit, in the order of the input. An
        unknown cost, ``None``, counts as 0.
    :param budget: credits that the rows may cost.
    :return: the index of the row; ``None`` if all rows fit.
    """
    total = 0.0
    for index, price in prices:
        total += price or 0.0
        if total > budget + ROUNDING_ERROR:
            return index
    return None


def find_prune_problem(
    counts: SurveyCounts, *, max_share: float, is_mapped: bool, has_manifest: bool
) -> str | None:
    """Return why no image of gone rows may be deleted; ``None`` if they may.

    :param counts: the rows before the first submit.
    :param max_share: share of the images of the previous manifest that may be deleted at once.
    :param is_mapped: whether the task is one of several map indexes.
    :param has_manifest: whether the previous manifest could be read.
    """
    images = counts.changed + counts.unchanged + counts.gone
    share = counts.gone / images if images else 0.0
    if not has_manifest:
        return "the previous manifest cannot be read"
    if not counts.rows:
        return (
            "the input has no rows. A query that returned nothing must not delete a catalogue. To "
            "delete it, remove the folder of the images yourself"
        )
    if is_mapped:
        return "the rows of a mapped task may have moved to another map index"
    if invalid := counts.others.get("invalid"):
        return (
            f"{invalid} rows are not valid, so that their keys may be missing from the input. Fix "
            "or remove them"
        )
    if share > max_share:
        return (
            f"{counts.gone} of {images} images ({share:.0%}) belong to rows that are gone, and "
            f"{max_share:.0%} may be deleted at once. Check the input. If it is right, raise the "
            "option [flux] max_prune_share for one run, for example by "
            "AIRFLOW__FLUX__MAX_PRUNE_SHARE=1"
        )
    return None
