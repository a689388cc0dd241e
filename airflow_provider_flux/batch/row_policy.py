"""What a try does about one row, by what earlier tries have submitted for it: decisions only, without a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_provider_flux.ledger.journal_entries import JournaledSubmit
from airflow_provider_flux.ledger.resume_policy import OnUncertain, check_choices

#: How a row ends. ``new_generation``: paid for, and not landed yet; a retry, or ``airflow flux recover``, collects it.
#: ``pending``: not submitted yet. The others are final in their try.
Outcome = Literal[
    "landed",
    "reused",
    "moderated",
    "invalid",
    "failed",
    "uncertain",
    "lost",
    "submitted",
    "pending",
]
OnRowChange = Literal["new", "resume"]
OnBatchClear = Literal["resume", "new"]
OnInvalidRow = Literal["fail", "skip"]

_NOT_CHARGED = frozenset({"FluxModeratedError", "FluxGenerationError"})
_LOST = frozenset({"FluxTaskNotFoundError", "FluxResultExpiredError"})


@dataclass(frozen=True)
class RowPolicies:
    """What is wanted where there is a choice; each field is an argument of the operator."""

    on_uncertain: OnUncertain = "fail"
    on_change: OnRowChange = "new"
    on_clear: OnBatchClear = "resume"
    on_invalid_row: OnInvalidRow = "fail"

    @classmethod
    def of(cls, **arguments: Any) -> RowPolicies:
        """Return the checked policies.

        :raises FluxRequestError: naming the argument, its value and what it may be.
        """
        choices = {
            "on_uncertain": OnUncertain,
            "on_change": OnRowChange,
            "on_clear": OnBatchClear,
            "on_invalid_row": OnInvalidRow,
        }
        check_choices(arguments, choices)
        return cls(**arguments)


@dataclass(frozen=True)
class RowPlan:
    """What to do about a row.

    :param action: ``submit`` it; ``resume`` what was submitted; or nothing more, it is ``done``.
    :param outcome: of a row that is done.
    :param submit: what there is to collect, or was.
    :param is_fallback: whether the fallback of the row is to be submitted, or was.
    :param uncertain: earlier submits of which nobody knows whether they were billed.
    :param spent: credits that all earlier submits of the row have cost, possibly.
    :param reported: those of them that the service has said itself.
    :param wasted: those of them that nothing comes of.
    :param abandoned: what was paid for, and is not collected, since the row has changed or all is paid anew.
    """

    action: Literal["submit", "resume", "done"]
    outcome: Outcome | None = None
    submit: JournaledSubmit | None = None
    is_fallback: bool = False
    uncertain: int = 0
    spent: float = 0.0
    reported: float = 0.0
    wasted: float = 0.0
    reason: str = ""
    abandoned: tuple[JournaledSubmit, ...] = ()


def plan_row(
    history: Sequence[JournaledSubmit],
    *,
    wanted: str,
    fallback: str | None,
    clear_id: str,
    policies: RowPolicies,
) -> RowPlan:
    """Decide about one row.

    :param history: what was submitted for it, in that order.
    :param wanted: fingerprint of the row as it is given now.
    :param fallback: fingerprint of its fallback.
    :param clear_id: of this try; another one than that of a submit means that a user has cleared the task since.
    """
    counting = [one for one in history if not (one.phase == "failed" and one.generation is None)]
    if policies.on_clear == "new":
        counting = [one for one in counting if one.header.clear_id == clear_id]
    choices = [one for one in (wanted, fallback) if one is not None]
    own = [
        one
        for one in counting
        if one.facts.row_fingerprint in choices or policies.on_change == "resume"
    ]
    moderated = [one for one in history if _error_type(one) == "FluxModeratedError"]
    plan = _decide(own, moderated, choices, clear_id, policies)
    spent = sum(map(cost_of, counting))
    kept = plan.submit if plan.action == "resume" or plan.outcome == "landed" else None
    return replace(
        plan,
        uncertain=sum(one.phase == "intent" for one in counting),
        spent=spent,
        reported=sum(
            cost_of(one)
            for one in counting
            if (one.generation or {}).get("cost_source") == "reported"
        ),
        wasted=spent - (cost_of(kept) if kept else 0.0),
        abandoned=tuple(
            one for one in history if one.phase == "submitted" and one is not plan.submit
        ),
    )


def _decide(
    own: Sequence[JournaledSubmit],
    moderated: Sequence[JournaledSubmit],
    choices: Sequence[str],
    clear_id: str,
    policies: RowPolicies,
) -> RowPlan:
    def done(outcome: Outcome, submit: JournaledSubmit, reason: str = "") -> RowPlan:
        return RowPlan(
            "done", outcome, submit, submit.facts.row_fingerprint in choices[1:], reason=reason
        )

    for one in reversed(own):
        if one.phase in {"persisted", "returned"}:
            return done("landed", one)
    for one in reversed(own):
        if one.phase == "submitted":
            return RowPlan("resume", None, one, one.facts.row_fingerprint in choices[1:])
    # A user who clears the task accepts to pay again. The clocks of workers differ, so the clear id counts, not the order.
    for one in reversed(own):
        if one.header.clear_id == clear_id and (plan := _left_alone(one, policies)):
            return plan
    refused = {one.facts.row_fingerprint: one for one in moderated}
    for number, choice in enumerate(choices):
        if choice not in refused:
            return RowPlan("submit", is_fallback=number > 0)
    last = refused[choices[-1]]
    return done("moderated", last, _said(last))


def _left_alone(submit: JournaledSubmit, policies: RowPolicies) -> RowPlan | None:
    """Return the plan for a row of which a submit was paid for, or may have been, and nothing came of it."""
    if submit.phase == "intent" and policies.on_uncertain == "fail":
        said = f"submitted at {submit.opened_at}, and the answer was never written down: possibly billed"
        return RowPlan("done", "uncertain", submit, reason=said)
    if _error_type(submit) in _LOST:
        return RowPlan("done", "lost", submit, reason=_said(submit))
    return None


def cost_of(submit: JournaledSubmit) -> float:
    """Return the credits that a submit has cost, or may have cost."""
    estimated = submit.facts.estimated_cost or 0.0
    if submit.phase == "intent":
        return estimated
    if submit.generation is None or _error_type(submit) in _NOT_CHARGED:
        return 0.0
    cost = submit.generation.get("cost")
    return estimated if cost is None else float(cost)


def _error_type(submit: JournaledSubmit) -> str | None:
    return str(submit.error.get("type")) if submit.phase == "failed" and submit.error else None


def _said(submit: JournaledSubmit) -> str:
    return str((submit.error or {}).get("message", ""))
