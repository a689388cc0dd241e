"""What a try does about what earlier ones have submitted: decisions only, without a store or a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.generation import describe_cost
from airflow_provider_flux.ledger.record import Record

OnUncertain = Literal["fail", "resubmit"]
OnChange = Literal["new", "resume", "fail"]
OnClear = Literal["resume", "new", "keep"]

#: ``submit``: pay. ``collect``: wait for what was paid for. ``give``: what was paid for has landed, hand it on.
#: ``uncertain`` and ``changed``: fail, since the policy says so.
Action = Literal["submit", "resume", "return", "fail_uncertain", "fail_changed"]


@dataclass(frozen=True)
class ResumePolicy:
    """What is wanted where there is a choice; each field is an argument of the operator."""

    on_uncertain: OnUncertain = "fail"
    on_change: OnChange = "new"
    on_clear: OnClear = "resume"

    @classmethod
    def of(cls, **arguments: Any) -> ResumePolicy:
        """Return the checked policies.

        :raises FluxRequestError: naming the argument, its value and what it may be.
        """
        check_choices(
            arguments, {"on_uncertain": OnUncertain, "on_change": OnChange, "on_clear": OnClear}
        )
        return cls(**arguments)


def check_choices(arguments: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Check arguments that are one of a few words.

    :param choices: a ``Literal`` of those words for each.
    :raises FluxRequestError: naming the argument, its value and what it may be.
    """
    for name, value in arguments.items():
        allowed = get_args(choices[name])
        if value not in allowed:
            raise FluxRequestError(
                f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}."
            )


@dataclass(frozen=True)
class Decision:
    """What to do, and what to warn of."""

    action: Action
    warning: str | None = None


def decide(
    latest: Record | None, *, fingerprint: str | None, clear_id: str, policies: ResumePolicy
) -> Decision:
    """Decide by the latest record of the task.

    :param fingerprint: of the request that this try wants; ``None`` if it cannot be told, since an input is gone.
    :param clear_id: of this try; another one than that of the record means that a user has cleared the task.
    """
    if latest is None or latest.phase == "failed":
        return Decision("submit")
    is_cleared = latest.clear_id != clear_id
    if latest.is_uncertain:
        if policies.on_uncertain == "resubmit" or is_cleared:
            return Decision("submit", describe_uncertain(latest))
        return Decision("fail_uncertain", describe_uncertain(latest))
    if is_cleared and _wants_new(latest, policies):
        return Decision(
            "submit",
            None if latest.phase == "returned" else _abandoned(latest, "The task was cleared"),
        )
    if (
        fingerprint is not None
        and latest.fingerprint != fingerprint
        and policies.on_change != "resume"
    ):
        warning = _abandoned(latest, "The request has changed")
        return Decision("submit" if policies.on_change == "new" else "fail_changed", warning)
    return Decision("resume" if latest.is_open else "return")


def describe_uncertain(record: Record) -> str:
    """Say that nobody knows what became of a submit."""
    cost = "" if record.estimated_cost is None else f" for {record.estimated_cost:g} credits"
    return (
        f"Try {record.owner.try_number} of this task submitted to {record.model} at {record.opened_at}, and its answer "
        f"was never written down: that request was possibly billed{cost}, and cannot be collected."
    )


def _wants_new(record: Record, policies: ResumePolicy) -> bool:
    return policies.on_clear == "new" or (
        policies.on_clear == "resume" and record.phase == "returned"
    )


def _abandoned(record: Record, reason: str) -> str:
    paid = record.accepted
    more = " It has landed." if record.has_landed else " `airflow flux recover` collects it."
    return (
        f"{reason}: the earlier request {paid['request_id']} ({describe_cost(paid)}) was paid for, and this try does "
        f"not take it.{more}"
    )
