"""The decision of a try by the record of the latest submit, without a store or a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.generation import describe_cost

if TYPE_CHECKING:
    from airflow_provider_flux.ledger.ledger_host import LostLedger
    from airflow_provider_flux.ledger.record import Record

OnUncertain = Literal["fail", "resubmit"]
OnChange = Literal["new", "resume", "fail"]
OnClear = Literal["resume", "new", "keep"]

#: The decision of a try.
#:
#: - ``submit``: submit a new request.
#: - ``resume``: wait for the generation that an earlier try submitted.
#: - ``return``: return the image that an earlier try landed.
#: - ``fail_uncertain``: fail, because the last submit was possibly billed.
#: - ``fail_changed``: fail, because the request differs from the one an earlier try submitted.
Action = Literal["submit", "resume", "return", "fail_uncertain", "fail_changed"]


@dataclass(frozen=True)
class ResumePolicy:
    """The choices of the user. Each field is an argument of the operator.

    :param on_uncertain: whether to ``fail`` or to ``resubmit`` after a submit whose answer is not
        known.
    :param on_change: whether to submit the ``new`` request, to ``resume`` the old one, or to
        ``fail``, if the request differs from the one an earlier try submitted.
    :param on_clear: whether a cleared task does ``resume`` a generation that no try returned,
        always submits a ``new`` request, or does ``keep`` the landed image of an earlier try.
    """

    on_uncertain: OnUncertain = "fail"
    on_change: OnChange = "new"
    on_clear: OnClear = "resume"

    @classmethod
    def of(cls, **arguments: Any) -> ResumePolicy:
        """Return the policy with checked values.

        :raises FluxRequestError: if a value is not allowed.
        """
        check_choices(
            arguments, {"on_uncertain": OnUncertain, "on_change": OnChange, "on_clear": OnClear}
        )
        return cls(**arguments)


@dataclass(frozen=True)
class Decision:
    """The decision of a try.

    :param action: the action to take.
    :param warning: the reason to warn the user; ``None`` if there is none.
    """

    action: Action
    warning: str | None = None


def check_choices(arguments: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Check arguments that allow a few words only.

    :param arguments: the values by argument.
    :param choices: the ``Literal`` of the allowed words by argument.
    :raises FluxRequestError: if a value is not allowed. It names the argument, the value and the
        allowed words.
    """
    for name, value in arguments.items():
        allowed = get_args(choices[name])
        if value not in allowed:
            raise FluxRequestError(
                f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}."
            )


def decide(
    latest: Record | None, *, fingerprint: str | None, clear_id: str, policies: ResumePolicy
) -> Decision:
    """Decide by the latest record of the task.

    :param latest: the last record that was not refused; ``None`` if there is none.
    :param fingerprint: fingerprint of this try's request; ``None`` if it is not known, because an
        input is gone.
    :param clear_id: clear id of this try. If it differs from that of the record, a user has cleared
        the task.
    :param policies: the choices of the user.
    """
    if latest is None or latest.phase == "failed":
        return Decision("submit")
    is_cleared = latest.clear_id != clear_id
    if latest.is_uncertain:
        may_resubmit = is_cleared or policies.on_uncertain == "resubmit"
        return Decision("submit" if may_resubmit else "fail_uncertain", describe_uncertain(latest))
    if is_cleared and _submits_after_clear(latest, policies):
        is_returned = latest.phase == "returned"
        return Decision(
            "submit", None if is_returned else _describe_abandoned(latest, "The task was cleared")
        )
    has_changed = fingerprint is not None and latest.fingerprint != fingerprint
    if has_changed and policies.on_change != "resume":
        return Decision(
            "submit" if policies.on_change == "new" else "fail_changed",
            _describe_abandoned(latest, "The request has changed"),
        )
    return Decision("resume" if latest.is_in_flight else "return")


def decide_without_records(
    lost: LostLedger | None, *, clear_id: str, policies: ResumePolicy
) -> Decision:
    """Decide if this machine has no record of the task.

    :param lost: the ledger of earlier tries on another machine; ``None`` if none is known.
    :param clear_id: clear id of this try.
    :param policies: the choices of the user.
    """
    if lost is None:
        return Decision("submit")
    is_cleared = lost.clear_id != clear_id
    if is_cleared and policies.on_clear == "new":
        return Decision("submit")
    may_resubmit = is_cleared or policies.on_uncertain == "resubmit"
    return Decision("submit" if may_resubmit else "fail_uncertain", lost.describe())


def describe_uncertain(record: Record) -> str:
    """Return a message about a submit whose answer is not known.

    :param record: the record of the submit, in phase ``intent``.
    """
    cost = "" if record.estimated_cost is None else f" for {record.estimated_cost:g} credits"
    if record.error is not None:  # the balance proves that BFL charged it
        return (
            f"Try {record.owner.try_number} of this task submitted to {record.model} at "
            f"{record.opened_at}. {record.error.get('message')}"
        )
    return (
        f"Try {record.owner.try_number} of this task submitted to {record.model} at "
        f"{record.opened_at}, and its answer is not recorded. That request was possibly "
        f"billed{cost}, and cannot be resumed."
    )


def _submits_after_clear(record: Record, policies: ResumePolicy) -> bool:
    is_returned = record.phase == "returned"
    return policies.on_clear == "new" or (policies.on_clear == "resume" and is_returned)


def _describe_abandoned(record: Record, reason: str) -> str:
    generation = record.accepted
    remedy = "It has landed." if record.has_landed else "`airflow flux recover` lands it."
    return (
        f"{reason}. An earlier try submitted request {generation['request_id']} "
        f"({describe_cost(generation)}), which this try does not resume. {remedy}"
    )
