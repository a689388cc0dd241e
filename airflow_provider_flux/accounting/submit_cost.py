"""The outcome and the cost of a submit, by its ledger. Pure: no store, no clock.

``airflow flux costs`` and ``airflow flux reconcile`` both decide by this module, so they agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from airflow_provider_flux.batch.costs import credits_of, is_reported
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import parse_time
from airflow_provider_flux.ledger.record import Phase

#: What became of a submit.
#:
#: - ``landed``: its image landed.
#: - ``ready``: its task returned the image, and landed none.
#: - ``submitted``: BFL bills it, and its image is still to land.
#: - ``uncertain``: its answer is not known, so it was possibly billed.
#: - ``moderated``, ``failed``: BFL ended it without an image, and without a charge.
#: - ``rejected``: a check rejected its image, which BFL bills.
#: - ``lost``: BFL bills it, and its image is gone.
#: - ``refused``: BFL refused it, or it was never sent.
Outcome = Literal[
    "landed",
    "ready",
    "submitted",
    "uncertain",
    "moderated",
    "failed",
    "rejected",
    "lost",
    "refused",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
#: Outcomes of a submit that made an image for the user.
WITH_IMAGE: frozenset[Outcome] = frozenset({"landed", "ready"})
#: Outcomes of an accepted submit that BFL does not bill. It takes the credits at the submit, and
#: gives them back.
NOT_CHARGED: frozenset[Outcome] = frozenset({"moderated", "failed"})
#: Outcomes by the error that ended an accepted submit. After any other one, it is ``lost``.
_OUTCOMES_OF_ERRORS: dict[str | None, Outcome] = {
    "FluxModeratedError": "moderated",
    "FluxGenerationError": "failed",
    "FluxRejectedError": "rejected",
    "FluxCheckError": "rejected",
}
_DIGEST_BYTES = 16
#: Years that a submit can have. Any other, which a stranger wrote, has no place in a calendar.
_YEARS = range(2000, 3000)

Result = Literal["landed", "ready", "submitted"]


@dataclass(frozen=True, slots=True)
class GenerationCost:
    """The cost of an accepted request, by one object of a ledger.

    :param request: digest of BFL's id of the request.
    :param model: name of the model.
    :param credits: credits that it costs, as far as they are known.
    :param is_reported: whether BFL reported them.
    :param is_priced: whether anybody knows a price.
    :param result: whether its image has landed, is ready and was returned, or is awaited.
    """

    request: bytes
    model: str
    credits: float
    is_reported: bool
    is_priced: bool
    result: Result


@dataclass(frozen=True, slots=True)
class SubmitCost:
    """One submit on the bill.

    :param outcome: what became of it.
    :param credits: credits (1 credit = 0.01 USD) that BFL charged; 0 for an uncertain submit.
    :param possible: credits that BFL may have charged for an uncertain submit, by the estimate.
    :param held: credits that BFL takes at the submit, those that it gives back included; ``None``
        if nobody knows.
    :param is_estimated: whether the credits are estimated, because BFL did not report them.
    """

    outcome: Outcome
    credits: float
    possible: float
    held: float | None
    is_estimated: bool

    @property
    def is_unpriced(self) -> bool:
        """Whether nobody knows what it cost or may have cost."""
        return self.held is None and self.outcome not in {*NOT_CHARGED, "refused"}


def cost_of_submit(
    phase: Phase,
    error: str | None,
    generation: GenerationCost | None,
    estimate: float | None,
) -> SubmitCost:
    """Return what became of a submit, and what it costs.

    :param phase: its latest phase.
    :param error: name of the error in that phase; ``None`` if there is none.
    :param generation: the accepted request; ``None`` if the ledger has none.
    :param estimate: estimated credits of the intent; ``None`` if they are not known.
    """
    outcome = outcome_of(phase, error, generation)
    held = estimate
    if generation is not None:
        held = generation.credits if generation.is_priced else None
    is_charged = outcome not in {*NOT_CHARGED, "refused", "uncertain"}
    return SubmitCost(
        outcome,
        credits=(held or 0.0) if is_charged else 0.0,
        possible=(held or 0.0) if outcome == "uncertain" else 0.0,
        held=held,
        is_estimated=is_charged and not (generation and generation.is_reported),
    )


def outcome_of(phase: Phase, error: str | None, generation: GenerationCost | None) -> Outcome:
    """Return what became of a submit.

    :param phase: its latest phase.
    :param error: name of the error in that phase; ``None`` if there is none.
    :param generation: the accepted request; ``None`` if the ledger has none.
    """
    match phase:
        case "intent":  # with an error, if the balance proves that BFL charged it
            return "uncertain" if error is None else "lost"
        case "failed":
            return _OUTCOMES_OF_ERRORS.get(error, "lost") if generation else "refused"
        case "submitted":
            return "submitted"
        case "persisted" | "returned":
            return generation.result if generation else "submitted"


def generation_cost(generation: Mapping[str, Any]) -> GenerationCost:
    """Return the cost of an accepted request.

    :param generation: the generation in a record or in a journal.
    """
    amounts = (generation.get("cost"), generation.get("estimated_cost"))
    has_media = bool(generation.get("image") or generation.get("video"))
    is_ready = generation.get("status") == Status.READY
    return GenerationCost(
        digest(str(generation["request_id"])),
        str(generation["model"]),
        credits_of(generation),
        is_reported(generation),
        any(read_amount(amount) is not None for amount in amounts),
        "landed" if has_media else "ready" if is_ready else "submitted",
    )


def parse_submit_time(text: str) -> datetime:
    """Return a time in ISO 8601, which is in UTC if it has no offset.

    :param text: the time.
    :raises ValueError: if it is none that a submit can have.
    """
    moment = parse_time(text)
    if moment.year not in _YEARS:
        raise ValueError(f"the year {moment.year} is none of a submit")
    return moment.astimezone(UTC)


def digest(text: str) -> bytes:
    """Return a short digest of an id, whose length a stranger may have chosen.

    :param text: the id.
    """
    data = text.encode(errors="surrogatepass")
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
