"""The landing plan of one generation: where to land it, what was requested, and who runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.landing.output_path import placeholders_in
from airflow_provider_flux.landing.provenance import (
    RequestSummary,
    TaskIdentity,
    summarize_request,
    without_prompt,
)
from airflow_provider_flux.landing.rejection import RejectionNote, rejected_path
from airflow_provider_flux.landing.review_note import ReviewNote
from airflow_provider_flux.landing.target import IfExists, Target
from airflow_provider_flux.media.info import ALL_FORMATS


class LandingPlan(BaseModel):
    """Everything that landing one generation needs, besides the generation itself.

    As JSON it is an argument of the trigger. It holds no secret.

    :param target: where to land the image, and how.
    :param request: what was requested, for the sidecar, ``reuse`` and ``on_mismatch``; empty if it
        is not known.
    :param task: the task instance that lands the image, for the sidecar and for ``reuse="run"``.
    :param review: the decision of the review that chose the image; ``None`` without one.
    :param rejection: why a check rejected the image; ``None`` if none did.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    target: Target
    request: RequestSummary = RequestSummary()
    task: TaskIdentity = TaskIdentity()
    review: ReviewNote | None = None
    rejection: RejectionNote | None = None

    def with_request(self, request: RequestSummary) -> LandingPlan:
        """Return the plan with another request, without its prompt if the target hides prompts.

        :param request: what was requested.
        """
        if self.target.options.hides_prompt:
            request = without_prompt(request)
        return self.model_copy(update={"request": request})

    def for_request(self, request: GenerationRequest) -> LandingPlan:
        """Return the plan with the summary of a request that is about to be submitted.

        :param request: the request, with its inputs prepared.
        """
        return self.with_request(summarize_request(request))

    def with_target(self, **changes: Any) -> LandingPlan:
        """Return the plan with a changed target.

        :param changes: fields of :class:`~airflow_provider_flux.landing.target.Target` and their
            new values.
        """
        return self.model_copy(update={"target": self.target.model_copy(update=changes)})

    def with_if_exists(self, if_exists: IfExists) -> LandingPlan:
        """Return the plan with another ``if_exists``.

        :param if_exists: what to do about an object at the target.
        """
        options = self.target.options.model_copy(update={"if_exists": if_exists})
        return self.with_target(options=options)

    def with_rejection(self, note: RejectionNote, uri: str) -> LandingPlan:
        """Return the plan of an image that a check rejected, which is kept under another name.

        :param note: why it was rejected.
        :param uri: the name that it would have had.
        """
        path = rejected_path(self.target.path, uri)
        rejected = self.with_if_exists("overwrite").with_target(path=path)
        return rejected.model_copy(update={"rejection": note})

    def without_prompt(self) -> LandingPlan:
        """Return the plan with a hash in place of the prompt."""
        return self.model_copy(update={"request": without_prompt(self.request)})

    def expected_uri(self, ext: str) -> str:
        """Return the URI that an image of one format gets, as known before the submit.

        :param ext: the format, for example ``jpeg``.
        """
        return self.target.fill(
            model=self.request.model, fingerprint=self.request.fingerprint, ext=ext
        )

    def expected_uris(self) -> list[str]:
        """Return the URIs the image can get, one for each format, as known before the submit.

        :return: an empty list if ``output_path`` has a placeholder that only BFL's answer fills in.
        """
        if placeholders_in(self.target.path) - {"key", "index", "model", "fingerprint", "ext"}:
            return []
        return list(dict.fromkeys(map(self.expected_uri, ALL_FORMATS)))


def read_landing_plan(value: Any) -> LandingPlan | None:
    """Parse the JSON form of a plan.

    :param value: what Airflow stored, which another version of this package may have written.
    :return: the plan; ``None`` if this version cannot read it.
    """
    if not isinstance(value, Mapping):
        return None
    try:
        return LandingPlan.model_validate(value)
    except ValidationError:
        return None
