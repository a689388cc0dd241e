"""The cost of one submit, folded from all that its ledger says. Pure: no store, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from airflow_provider_flux.accounting.costs.ledger_parts import SubmitPart
from airflow_provider_flux.batch.costs import NOT_CHARGED

#: How a submit ended, in the words of the metric ``flux.outcomes``, and ``refused`` for a submit
#: that BFL refused or that was never sent.
Outcome = Literal[
    "landed",
    "ready",
    "submitted",
    "uncertain",
    "moderated",
    "rejected",
    "lost",
    "invalid",
    "failed",
    "refused",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
#: Outcomes of a submit that made an image for the user.
WITH_IMAGE: frozenset[Outcome] = frozenset({"landed", "ready"})
_OUTCOMES_OF_ERRORS: dict[str | None, Outcome] = {
    "FluxModeratedError": "moderated",
    "FluxRejectedError": "rejected",
    "FluxTaskNotFoundError": "lost",
    "FluxResultExpiredError": "lost",
    "FluxRequestError": "invalid",
}


@dataclass(frozen=True, slots=True)
class SubmitCost:
    """One submit on the bill.

    :param claim: digest of the random id of the submit.
    :param request: digest of BFL's id of the request; that of the claim if BFL accepted none.
    :param opened_at: time of the intent, in seconds since 1970 in UTC.
    :param model: name of the model.
    :param flux_conn_id: id of the connection to BFL.
    :param outcome: how it ended.
    :param credits: credits that BFL charged; 0 for an uncertain submit.
    :param possible: credits that BFL may have charged for an uncertain submit, by the estimate.
    :param is_estimated: whether the credits are estimated, because BFL did not report them.
    :param is_unpriced: whether nobody knows what it cost or may have cost.
    """

    claim: bytes
    request: bytes
    opened_at: float
    model: str
    flux_conn_id: str
    outcome: Outcome
    credits: float
    possible: float
    is_estimated: bool
    is_unpriced: bool


def cost_of_submit(part: SubmitPart) -> SubmitCost:
    """Return the cost of a submit.

    :param part: all that its ledger says, merged. Without its intent, which a missing segment
        holds, the time of its latest phase counts.
    """
    outcome, intent, generation = outcome_of(part), part.intent, part.generation
    estimate = intent.estimate if intent else None
    is_uncertain = outcome == "uncertain"
    if generation is not None:
        is_charged = part.error not in NOT_CHARGED
        credits_, is_priced = generation.credits, generation.is_priced
    else:  # the balance proved that a lost submit was charged
        is_charged = outcome == "lost"
        credits_, is_priced = estimate or 0.0, estimate is not None
    return SubmitCost(
        part.claim,
        generation.request if generation else part.claim,
        intent.opened_at if intent else part.at,
        generation.model if generation else intent.model if intent else "",
        part.flux_conn_id,
        outcome,
        credits=credits_ if is_charged else 0.0,
        possible=(estimate or 0.0) if is_uncertain else 0.0,
        is_estimated=is_charged and not (generation and generation.is_reported),
        is_unpriced=(is_charged or is_uncertain) and not is_priced,
    )


def outcome_of(part: SubmitPart) -> Outcome:
    """Return how a submit ended.

    :param part: all that its ledger says, merged.
    """
    if part.phase == "intent":  # a verdict of `airflow flux reconcile` is an error in it
        return "lost" if part.error else "uncertain"
    if part.phase == "failed":
        error_outcome = _OUTCOMES_OF_ERRORS.get(part.error, "failed")
        return error_outcome if part.generation else "refused"
    if part.generation is None:
        return "submitted"
    return "submitted" if part.phase == "submitted" else part.generation.result
