"""The plan of a batch: its rows, and what a run would pay for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_flux.batch.survey import SurveyCounts
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT, describe_credits

#: Credits below which an amount is one of floating point.
_LEAST = 1e-9


@dataclass(frozen=True)
class ModelPlan:
    """The rows that a run would submit to one model.

    :param model: name of the model.
    :param rows: number of rows.
    :param credits: their expected cost (1 credit = 0.01 USD).
    """

    model: str
    rows: int
    credits: float


@dataclass(frozen=True)
class BudgetPlan:
    """A budget of the account that limits the batch.

    :param budget: the budget in words.
    :param spent: credits that were spent in its period.
    :param reserved: credits that tasks have reserved.
    :param left: the rest.
    :param resets: time in UTC at which it resets.
    """

    budget: str
    spent: float
    reserved: float
    left: float
    resets: str


@dataclass(frozen=True)
class BatchPlan:
    """The rows of a batch, and what a run would pay for them now.

    The price is that of the price list. Not in it are further submits: a fallback, another image
    in place of a rejected one, and a submit whose answer is lost. A moderated row costs nothing.

    :param counts: the rows, compared with the previous manifest.
    :param models: the rows to submit by model, the dearest first.
    :param unpriced: rows to submit whose price is known only after their result.
    :param trimmed: rows that ``on_budget="trim"`` leaves pending. They are not in ``models``.
    :param spent: credits that earlier tries of the same run spent.
    :param refusal: reason why the run would submit nothing; ``None`` if it would submit.
    :param manifest: URI of the manifest.
    :param budgets: budgets of the account that limit the batch.
    """

    counts: SurveyCounts
    models: tuple[ModelPlan, ...]
    unpriced: int
    trimmed: int
    spent: float
    refusal: str | None
    manifest: str
    budgets: tuple[BudgetPlan, ...] = ()

    @property
    def to_submit(self) -> int:
        """Number of rows to submit."""
        return sum(model.rows for model in self.models)

    @property
    def credits(self) -> float:
        """Expected cost of the rows to submit, without those of unknown price."""
        return sum(model.credits for model in self.models)

    @property
    def pays(self) -> bool:
        """Whether a run would pay anything, or might."""
        return self.credits > _LEAST or self.unpriced > 0

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {
            "rows": self.counts.rows,
            **self.counts.figures(),
            **{str(outcome): count for outcome, count in self.counts.others.items()},
            "to_submit": self.to_submit,
            "trimmed": self.trimmed,
            "unpriced": self.unpriced,
            "credits": round(self.credits, 4),
            "usd": round(self.credits * USD_PER_CREDIT, 4),
            "spent": round(self.spent, 4),
            "models": [_model_as_dict(model) for model in self.models],
            "budgets": [asdict(budget) for budget in self.budgets],
            "refusal": self.refusal,
            "manifest": self.manifest,
        }

    def describe(self) -> str:
        """Return the plan as text of several lines."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.counts.describe()
        for model in self.models:
            yield f"{model.model}: {_count(model.rows)}, {describe_credits(model.credits)}"
        if self.unpriced:
            yield f"{_count(self.unpriced)} whose price is known only after the result"
        if self.trimmed:
            yield f"{_count(self.trimmed)} beyond the budget stay pending"
        if self.spent:
            yield f"earlier tries of this run spent {describe_credits(self.spent)}"
        yield f"a run pays {describe_credits(self.credits)}" if self.pays else "a run pays nothing"
        for budget in self.budgets:
            yield (
                f"budget of {budget.budget}: {budget.spent:g} spent, {budget.reserved:g} reserved, "
                f"{budget.left:g} left, resets at {budget.resets}"
            )
        if self.refusal:
            yield f"the run would fail before it submits: {self.refusal}"


def _model_as_dict(model: ModelPlan) -> Mapping[str, Any]:
    return {
        "model": model.model,
        "rows": model.rows,
        "credits": round(model.credits, 4),
        "usd": round(model.credits * USD_PER_CREDIT, 4),
    }


def _count(rows: int) -> str:
    return f"{rows} {'row' if rows == 1 else 'rows'}"
