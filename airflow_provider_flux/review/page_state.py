"""The state of a review that the review page shows: an XCom of the task."""

from __future__ import annotations

from typing import Any

from airflow_provider_flux.review.candidates import MAX_CANDIDATES
from airflow_provider_flux.review.record import ReviewRecord

#: XCom key of the state.
REVIEW_XCOM = "flux_review"


def describe_review(
    record: ReviewRecord,
    *,
    multiple: bool,
    per_round: int,
    max_rounds: int,
    max_cost: float | None,
    prompt: str | None,
) -> dict[str, Any]:
    """Return the state of a review, as JSON.

    :param record: record of the review.
    :param multiple: whether several candidates may be chosen.
    :param per_round: number of other candidates each time.
    :param max_rounds: how many times other candidates may be asked for; 0 if they may not.
    :param max_cost: credits that other candidates may cost; ``None`` if there is no limit.
    :param prompt: prompt of other candidates; ``None`` if it is hidden, or there is none.
    """
    numbered = enumerate(record.candidates, 1)
    return {
        "phase": record.phase,
        "round": record.round,
        "max_rounds": max_rounds,
        "multiple": multiple,
        "may_ask_again": record.round < max_rounds and has_room(record, per_round),
        "per_round": per_round,
        "credits_left": None if max_cost is None else max(0.0, max_cost - record.credits),
        "prompt": prompt,
        "note": record.note,
        "candidates": [candidate.describe(number) for number, candidate in numbered],
        "decision": record.decision.model_dump() if record.decision else None,
    }


def has_room(record: ReviewRecord, more: int) -> bool:
    """Whether a review may have so many further candidates.

    :param record: record of the review.
    :param more: number of further candidates.
    """
    return len(record.candidates) + more <= MAX_CANDIDATES
