"""The review of an image, as its sidecar records it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from airflow_provider_flux.landing.provenance import TaskIdentity

ReviewOutcome = Literal["approved", "not_chosen", "rejected"]


class ReviewNote(BaseModel):
    """The decision of a review about one image.

    :param outcome: ``approved``, ``not_chosen`` if another candidate was, or ``rejected`` if none
        was.
    :param decided_by_id: id of the user in Airflow; ``None`` for the default of a timeout.
    :param decided_by_name: name of the user in Airflow; ``None`` for the default of a timeout.
    :param decided_at: time of the decision, ISO 8601.
    :param is_timeout: whether nobody answered in time, so that the default applies.
    :param comment: what the user wrote; empty if nothing.
    :param round: how many times the reviewers asked for other candidates before.
    :param candidate: number of the candidate, from 1.
    :param candidates: number of candidates of the review.
    :param promoted_from: URI of the candidate, for the image at the final path.
    :param task: the task instance of the review.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    outcome: ReviewOutcome
    decided_by_id: str | None = None
    decided_by_name: str | None = None
    decided_at: str
    is_timeout: bool = False
    comment: str = ""
    round: int = 0
    candidate: int = 1
    candidates: int = 1
    promoted_from: str | None = None
    task: TaskIdentity = TaskIdentity()
