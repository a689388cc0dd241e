"""Decide about one row by the submits that earlier tries made for it. Pure: no store, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_provider_flux.batch.costs import cost_of, error_type, is_reported
from airflow_provider_flux.batch.rejected import NOTHING_REJECTED, RejectedImages
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit
from airflow_provider_flux.ledger.resume_policy import OnUncertain, check_choices

#: State of a row in the manifest and in the summary. ``submitted``: BFL accepted it, and its image
#: has not landed; a retry, or ``airflow flux recover``, resumes it. ``pending``: not submitted yet.
#: A row with any other outcome has ended in this try.
RowOutcome = Literal[
    "landed",
    "reused",
    "moderated",
    "rejected",
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

_LOST = frozenset({"FluxTaskNotFoundError", "FluxResultExpiredError"})
#: Errors of images that a check rejected, and of those whose check failed.
_REJECTED, _CHECK_FAILED = "FluxRejectedError", "FluxCheckError"


@dataclass(frozen=True)
class RowPolicies:
    """The choices of the user about rows. Each field is an argument of the operator.

    :param on_uncertain: whether a row is submitted again if the answer to its submit is not known.
    :param on_change: whether a row whose request changed is submitted again, or its earlier
        submit is resumed.
    :param on_clear: whether a cleared task resumes its rows, or submits all of them again.
    :param on_invalid_row: whether invalid rows fail the task before its first submit.
    :param max_rerolls: further submits of a row whose image a check rejected, over all tries.
    """

    on_uncertain: OnUncertain = "fail"
    on_change: OnRowChange = "new"
    on_clear: OnBatchClear = "resume"
    on_invalid_row: OnInvalidRow = "fail"
    max_rerolls: int = 0

    @classmethod
    def of(cls, **arguments: Any) -> RowPolicies:
        """Check the arguments of the operator and return them as policies.

        :param arguments: values by field name. A field that is left out has its default.
        :raises FluxRequestError: naming the argument, its value and the allowed values.
        """
        choices = {
            "on_uncertain": OnUncertain,
            "on_change": OnRowChange,
            "on_clear": OnBatchClear,
            "on_invalid_row": OnInvalidRow,
        }
        chosen = {name: value for name, value in arguments.items() if name in choices}
        check_choices(chosen, choices)
        return cls(**arguments)


@dataclass(frozen=True)
class RowPlan:
    """The decision of a try about one row, and the money that its earlier submits took.

    :param action: ``submit`` the row, ``resume`` its earlier submit, or leave it: it is ``done``.
    :param outcome: outcome of a row that is done; ``None`` with any other action.
    :param submit: the submit to resume, or the one that made the row done.
    :param is_fallback: whether this is about the fallback of the row.
    :param reason: explanation of the outcome, for the manifest.
    :param uncertain: number of earlier submits whose answer is not known.
    :param spent: credits that all earlier submits cost, those included that may have been billed.
    :param reported: the part of ``spent`` that BFL reported.
    :param possible: the part of ``spent`` of the submits whose answer is not known.
    :param wasted: the part of ``spent`` that gives no image.
    :param abandoned: accepted submits that have not landed and that this try does not resume.
    :param rejected: the images of the row that checks rejected.
    """

    action: Literal["submit", "resume", "done"]
    outcome: RowOutcome | None = None
    submit: JournaledSubmit | None = None
    is_fallback: bool = False
    reason: str = ""
    uncertain: int = 0
    spent: float = 0.0
    reported: float = 0.0
    possible: float = 0.0
    wasted: float = 0.0
    abandoned: tuple[JournaledSubmit, ...] = ()
    rejected: RejectedImages = NOTHING_REJECTED

    @property
    def kept(self) -> JournaledSubmit | None:
        """The submit whose image is used, or will be; ``None`` if there is none."""
        return self.submit if self.action == "resume" or self.outcome == "landed" else None


@dataclass(frozen=True)
class RowHistory:
    """The earlier submits of one row, folded into the facts that decide about it.

    ``moderated``, ``rejected`` and ``not_landed`` cover all submits of all tries. The other facts
    leave out the submits that BFL refused and, with ``on_clear="new"``, those before the last
    clear. ``landed``, ``accepted`` and ``blocking`` also leave out those of other requests, unless
    ``on_change="resume"``, and so does ``rejected``.

    :param landed: the latest submit whose image landed.
    :param accepted: the latest submit that BFL accepted and whose image has not landed.
    :param blocking: the latest submit since the last clear after which the row must not be
        submitted again: its answer is not known, its image is lost, or its check failed.
    :param moderated: moderated submits, by the fingerprint of their row.
    :param rejected: submits of the row, or of its fallback, whose image a check rejected.
    :param not_landed: all submits that BFL accepted and whose image has not landed.
    :param uncertain: number of submits whose answer is not known.
    :param spent: credits that the submits cost, or may have cost.
    :param reported: the part of ``spent`` that BFL reported.
    :param possible: the part of ``spent`` of the submits whose answer is not known.
    :param landed_cost: the part of ``spent`` of the submits whose image landed.
    """

    landed: JournaledSubmit | None
    accepted: JournaledSubmit | None
    blocking: JournaledSubmit | None
    moderated: Mapping[str, JournaledSubmit]
    rejected: tuple[JournaledSubmit, ...]
    not_landed: tuple[JournaledSubmit, ...]
    uncertain: int
    spent: float
    reported: float
    possible: float
    landed_cost: float

    @classmethod
    def fold(
        cls,
        submits: Sequence[JournaledSubmit],
        *,
        fingerprints: Sequence[str],
        clear_id: str,
        policies: RowPolicies,
    ) -> RowHistory:
        """Fold the submits of one row.

        :param submits: all submits of the row, in the order in which they were made.
        :param fingerprints: fingerprints of the row and of its fallback, as they are now.
        :param clear_id: the clear that this try belongs to. A submit with another id was made
            before a user cleared the task.
        :param policies: choices of the user.
        """
        counted = [
            submit
            for submit in submits
            if not _is_refused(submit)
            and (policies.on_clear == "resume" or submit.header.clear_id == clear_id)
        ]
        usable = [
            submit
            for submit in counted
            if policies.on_change == "resume" or submit.facts.row_fingerprint in fingerprints
        ]
        # A user who clears the task accepts to pay again. The clocks of workers differ, so the
        # clear id decides which submits are older, not their order.
        current = [submit for submit in usable if submit.header.clear_id == clear_id]
        return cls(
            landed=_latest(usable, _has_landed),
            accepted=_latest(usable, lambda submit: submit.phase == "submitted"),
            blocking=_latest(current, lambda submit: _blocks(submit, policies)),
            moderated={
                submit.facts.row_fingerprint: submit
                for submit in submits
                if error_type(submit) == "FluxModeratedError"
            },
            rejected=tuple(
                submit
                for submit in submits
                if error_type(submit) == _REJECTED
                and (policies.on_change == "resume" or submit.facts.row_fingerprint in fingerprints)
            ),
            not_landed=tuple(submit for submit in submits if submit.phase == "submitted"),
            uncertain=sum(submit.phase == "intent" for submit in counted),
            spent=sum(map(cost_of, counted)),
            reported=sum(map(cost_of, (s for s in counted if is_reported(s.generation)))),
            possible=sum(map(cost_of, (s for s in counted if s.phase == "intent"))),
            landed_cost=sum(map(cost_of, filter(_has_landed, counted))),
        )


def plan_row(
    submits: Sequence[JournaledSubmit],
    *,
    fingerprint: str,
    fallback: str | None,
    clear_id: str,
    policies: RowPolicies,
) -> RowPlan:
    """Decide about one row.

    :param submits: all submits of the row in earlier tries, in the order in which they were made.
    :param fingerprint: fingerprint of the row as it is now.
    :param fallback: fingerprint of its fallback; ``None`` if it has none.
    :param clear_id: the clear that this try belongs to.
    :param policies: choices of the user.
    """
    fingerprints = [value for value in (fingerprint, fallback) if value is not None]
    history = RowHistory.fold(
        submits, fingerprints=fingerprints, clear_id=clear_id, policies=policies
    )
    plan = _decide(history, fingerprints, policies)
    return replace(
        plan,
        rejected=_collect_rejected(history),
        uncertain=history.uncertain,
        spent=history.spent,
        reported=history.reported,
        possible=history.possible,
        wasted=history.spent - (cost_of(plan.kept) if plan.kept else 0.0),
        abandoned=tuple(submit for submit in history.not_landed if submit is not plan.submit),
    )


def plan_gone_row(
    submits: Sequence[JournaledSubmit], *, clear_id: str, policies: RowPolicies
) -> RowPlan:
    """Account for a row that is not in the input any more, or is not valid any more.

    :param submits: all submits of the row in earlier tries, in the order in which they were made.
    :param clear_id: the clear that this try belongs to.
    :param policies: choices of the user.
    :return: a plan without an outcome, which resumes nothing.
    """
    history = RowHistory.fold(submits, fingerprints=(), clear_id=clear_id, policies=policies)
    return RowPlan(
        "done",
        uncertain=history.uncertain,
        spent=history.spent,
        reported=history.reported,
        possible=history.possible,
        wasted=history.spent - history.landed_cost,
        abandoned=history.not_landed,
    )


def _decide(history: RowHistory, fingerprints: Sequence[str], policies: RowPolicies) -> RowPlan:
    """Return the decision, without the money."""

    def done(outcome: RowOutcome, submit: JournaledSubmit) -> RowPlan:
        return RowPlan("done", outcome, submit, is_fallback(submit), _describe_end(submit))

    def is_fallback(submit: JournaledSubmit) -> bool:
        return submit.facts.row_fingerprint in fingerprints[1:]

    if history.landed:
        return done("landed", history.landed)
    if history.accepted:
        submit = history.accepted
        return RowPlan("resume", submit=submit, is_fallback=is_fallback(submit))
    if history.blocking:
        return done(_blocked_outcome(history.blocking), history.blocking)
    if len(history.rejected) > policies.max_rerolls:
        return done("rejected", history.rejected[-1])
    for position, fingerprint in enumerate(fingerprints):
        if fingerprint not in history.moderated:
            return RowPlan("submit", is_fallback=position > 0)
    return done("moderated", history.moderated[fingerprints[-1]])


def _blocked_outcome(submit: JournaledSubmit) -> RowOutcome:
    if submit.phase == "intent":
        return "uncertain"
    return "rejected" if error_type(submit) == _CHECK_FAILED else "lost"


def _collect_rejected(history: RowHistory) -> RejectedImages:
    images = NOTHING_REJECTED
    for submit in history.rejected:
        images = images.add(submit.generation or {}, _describe_end(submit))
    last = history.blocking
    if last is not None and error_type(last) == _CHECK_FAILED:
        images = images.add(last.generation or {}, _describe_end(last), is_attempt=False)
    return images


def _describe_end(submit: JournaledSubmit) -> str:
    if submit.phase == "intent" and not submit.error:
        return (
            f"The answer to the submit at {submit.opened_at} was not recorded: "
            f"it was possibly billed ({cost_of(submit):g} credits)."
        )
    return str((submit.error or {}).get("message", ""))


def _has_landed(submit: JournaledSubmit) -> bool:
    return submit.phase in {"persisted", "returned"}


def _latest(
    submits: Sequence[JournaledSubmit], matches: Callable[[JournaledSubmit], bool]
) -> JournaledSubmit | None:
    return next((submit for submit in reversed(submits) if matches(submit)), None)


def _blocks(submit: JournaledSubmit, policies: RowPolicies) -> bool:
    is_uncertain = submit.phase == "intent" and policies.on_uncertain == "fail"
    return is_uncertain or error_type(submit) in _LOST or error_type(submit) == _CHECK_FAILED


def _is_refused(submit: JournaledSubmit) -> bool:
    return submit.phase == "failed" and submit.generation is None
