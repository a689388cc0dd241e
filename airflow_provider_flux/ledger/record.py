"""The record of one submit, from the intent to the landed image."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import pendulum
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.bfl.responses import drop_bad_number
from airflow_provider_flux.generation import Generation, renditions_of, without_media
from airflow_provider_flux.generation_input import parse_generation
from airflow_provider_flux.landing.below_root import describe_uri, find_escape, is_below
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.target import Target

log = logging.getLogger(__name__)

#: The progress of a submit.
#:
#: - ``intent``: about to be sent, or sent and its answer was never recorded.
#: - ``submitted``: BFL accepted it and bills it.
#: - ``persisted``: its image has landed, and its task has not returned it yet.
#: - ``returned``: its task returned the image.
#: - ``failed``: nothing can land. BFL refused it, ended it without an image, or forgot it.
Phase = Literal["intent", "submitted", "persisted", "returned", "failed"]

#: A later phase of a submit replaces an earlier one, in whatever order they were written.
PHASE_ORDER: Mapping[Phase, int] = {
    "intent": 0,
    "submitted": 1,
    "failed": 2,
    "persisted": 3,
    "returned": 4,
}

_VERSION = 1
_MAX_REASON_CHARS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _check_generation(value: dict[str, Any]) -> dict[str, Any]:
    """Check a stored generation as one that a task supplies.

    Its ids reach logs and terminals, so none of them may hold a control character.
    """
    generation = parse_generation(value)
    for name in ("request_id", "polling_url", "model"):
        if _CONTROL.search(str(generation[name])):
            raise ValueError(f"{name} holds a control character")
    for landed in (generation["image"], generation["video"]):
        members: Any = landed if isinstance(landed, dict) else {}
        if landed is not None and not all(
            isinstance(members.get(name), str) for name in ("uri", "sha256")
        ):
            raise ValueError("the landed image has no uri or no sha256")
    return dict(generation)


#: A generation in a record or in a journal.
StoredGeneration = Annotated[dict[str, Any], AfterValidator(_check_generation)]


def utc_now() -> str:
    """Return the current time in UTC, in ISO 8601."""
    return pendulum.now("UTC").isoformat()


class Record(BaseModel):
    """Version 1 of a record. A new version is needed to remove or change a field, not to add one.

    :param schema_version: 1.
    :param claim: a random id of this record. It makes the bytes of two writers differ.
    :param follows: ``claim`` of the record before this one; ``None`` for the first one.
    :param phase: the progress of the submit.
    :param owner: the task instance, and the try that submitted.
    :param clear_id: id of the clear that the try belongs to. A clear by a user changes it, a retry
        by Airflow does not.
    :param flux_conn_id: id of the connection to BFL.
    :param model: name of the model.
    :param fingerprint: fingerprint of the request.
    :param estimated_cost: estimated price of the request in credits (1 credit = 0.01 USD); ``None``
        if it is not known.
    :param opened_at: time of the intent, in ISO 8601.
    :param updated_at: time of the last change, in ISO 8601.
    :param generation: the accepted request, as in the XCom of the task; ``None`` until BFL answers.
    :param target: where the image is to land; ``None`` without ``output_path``.
    :param request: what was requested, for the sidecar; ``None`` without ``output_path``.
    :param error: the reason for phase ``failed``, as :meth:`FluxError.as_dict` returns it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    claim: str = Field(default_factory=lambda: uuid.uuid4().hex)
    follows: str | None = None
    phase: Phase = "intent"
    owner: TaskIdentity
    clear_id: str
    flux_conn_id: str
    model: str
    fingerprint: str
    estimated_cost: Annotated[float | None, BeforeValidator(drop_bad_number)] = None
    opened_at: str = Field(default_factory=utc_now)
    updated_at: str = Field(default_factory=utc_now)
    generation: StoredGeneration | None = None
    target: Target | None = None
    request: RequestSummary | None = None
    error: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_phase(self) -> Record:
        if self.generation is None and self.phase in {"submitted", "persisted", "returned"}:
            raise ValueError(f"phase {self.phase} needs a generation")
        return self

    @property
    def accepted(self) -> Generation:
        """The accepted request.

        :raises FluxLedgerError: if BFL accepted none, or its answer was never recorded.
        """
        if self.generation is None:
            raise FluxLedgerError(
                f"The record of {self.owner.task_id} names no request: its phase is {self.phase}."
            )
        return cast("Generation", self.generation)

    def accepted_below(self, root: str | None) -> Generation:
        """Return the accepted request, with its image only if that has landed below a folder.

        Whoever may write the record may name any image in it.

        :param root: the folder of the images, with a slash at its end; ``None`` if the record is
            trusted.
        :raises FluxLedgerError: if BFL accepted none, or its answer was never recorded.
        """
        accepted = self.accepted
        return accepted if root is None else drop_media_outside(accepted, root)

    @property
    def landing_plan(self) -> LandingPlan | None:
        """The plan by which the image is to land; ``None`` if the record has no target."""
        if self.target is None:
            return None
        return LandingPlan(
            target=self.target, request=self.request or RequestSummary(), task=self.owner
        )

    @property
    def is_in_flight(self) -> bool:
        """Whether BFL accepted the request and its image has not landed yet."""
        return self.phase == "submitted"

    @property
    def has_landed(self) -> bool:
        """Whether the image has landed, or was returned by a task without ``output_path``."""
        return self.phase in {"persisted", "returned"}

    @property
    def is_refused(self) -> bool:
        """Whether BFL refused the submit, or nothing was sent."""
        return self.phase == "failed" and self.generation is None

    @property
    def is_uncertain(self) -> bool:
        """Whether the submit was possibly billed, since its answer is not known."""
        return self.phase == "intent"

    def has_request(self, request_id: str) -> bool:
        """Whether the record names this request of BFL.

        :param request_id: BFL's id of the request.
        """
        return self.generation is not None and self.generation["request_id"] == request_id

    def is_waiting_for(self, generation: Generation) -> bool:
        """Whether the image of a generation is still to be recorded here.

        An uncertain record waits for any generation of the same request: the worker may have failed
        to record the answer.

        :param generation: an accepted request.
        """
        if self.is_uncertain:
            return self.fingerprint == generation["fingerprint"]
        return self.is_in_flight and self.has_request(generation["request_id"])

    def add_request_to(self, plan: LandingPlan) -> LandingPlan:
        """Return a plan with the request of this record, as far as the record knows it.

        :param plan: the plan of a try, whose request may differ.
        """
        if self.request is not None:
            return plan.with_request(self.request)
        if plan.request.fingerprint == self.fingerprint:
            return plan
        return plan.with_request(RequestSummary())

    def in_phase(
        self,
        phase: Phase,
        *,
        generation: Generation | None = None,
        error: FluxError | None = None,
    ) -> Record:
        """Return the record in another phase.

        :param phase: the new phase.
        :param generation: the accepted request; ``None`` keeps the one in the record.
        :param error: the reason for phase ``failed``.
        """
        changes: dict[str, Any] = {"phase": phase, "updated_at": utc_now()}
        changes["error"] = error.as_dict() if error else None
        if generation is not None:
            changes["generation"] = dict(generation)
        return self.model_copy(update=changes)

    def as_json(self) -> dict[str, Any]:
        """Return the record as the task state store keeps it."""
        return self.model_dump(mode="json")

    def as_bytes(self) -> bytes:
        """Return the record as a file keeps it."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def drop_media_outside(generation: Generation, root: str) -> Generation:
    """Return a generation without an image that has not landed below a folder.

    :param generation: a generation from a bucket.
    :param root: the folder, with a slash at its end.
    """
    landed = generation["image"] or generation["video"]
    if landed is None:
        return generation
    if is_below(landed["uri"], root):
        return _without_renditions_outside(generation, root)
    log.warning(
        "The record of request %s names an image at %s. It %s, so it does not count.",
        generation["request_id"],
        describe_uri(landed["uri"]),
        find_escape(landed["uri"], root),
    )
    return without_media(generation)


def _without_renditions_outside(generation: Generation, root: str) -> Generation:
    """Return a generation without renditions that are not below a folder."""
    image = generation["image"]
    own = {
        name: rendition
        for name, rendition in renditions_of(image).items()
        if is_below(rendition["uri"], root)
    }
    if image is None or image.get("renditions", own) == own:
        return generation
    changed = generation.copy()
    changed["image"] = {**image, "renditions": own}
    return changed


def parse_record(stored: bytes | Mapping[str, Any], location: str) -> Record:
    """Parse a stored record.

    :param stored: the bytes of a file, or the JSON value of the task state store.
    :param location: the location of the record, for the error.
    :raises FluxLedgerError: if this version cannot read it. An unreadable record never counts as
        no record.
    """
    try:
        if isinstance(stored, bytes):
            return Record.model_validate_json(stored)
        return Record.model_validate(stored)
    except ValidationError as error:
        raise FluxLedgerError(
            f"The record {location} cannot be read ({describe_invalid(error)}). It may name an "
            "image that BFL bills, so nothing is submitted. Inspect it. Remove it only if you "
            "accept a possible second charge."
        ) from None


def describe_invalid(error: ValidationError) -> str:
    """Return the first problem of a record or an entry, without the stored value.

    :param error: the error of pydantic.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"])) or "JSON"
    if field == "schema_version":
        return f"its version is not {_VERSION}: a later version of this package wrote it"
    return f"{field}: {redact(first['msg'])[:_MAX_REASON_CHARS]}"
