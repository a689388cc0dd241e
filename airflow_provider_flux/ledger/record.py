"""One record of the ledger: one paid submit of one task, from the intent to where its image went."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import pendulum
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.generation import Generation, parse_generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.target import Target

#: ``intent``: about to be posted, or posted and the answer was never written down. ``new_generation``: accepted, and
#: paid for. ``persisted``: landed, but its task has not said so yet. ``returned``: its task has handed it on.
#: ``failed``: nothing to collect; refused before anything was paid, ended by BFL, or lost.
Phase = Literal["intent", "submitted", "persisted", "returned", "failed"]
_VERSION = 1
_Generation = Annotated[dict[str, Any], AfterValidator(lambda value: dict(parse_generation(value)))]


def _now() -> str:
    return pendulum.now("UTC").isoformat()


class Record(BaseModel):
    """Version 1 of a record. Fields are added, never removed or changed, without a new version.

    :param claim: a random id of this record: no two writers write the same bytes.
    :param follows: ``claim`` of the record before it; ``None`` for the first one.
    :param owner: the task instance, and the try that has submitted.
    :param clear_id: changes when a user clears the task, not when Airflow retries it.
    :param estimated_cost: credits (1 credit = 0.01 USD) the request was expected to cost.
    :param generation: what was submitted, once it was answered; the XCom of the task.
    :param target: where the image is to land; ``None`` without ``output_path``.
    :param request: what was requested, for the sidecar; ``None`` without ``output_path``.
    :param error: why there is nothing to collect, as :meth:`FluxError.as_dict` gives it.
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
    estimated_cost: float | None = None
    opened_at: str = Field(default_factory=_now)
    updated_at: str = Field(default_factory=_now)
    generation: _Generation | None = None
    target: Target | None = None
    request: RequestSummary | None = None
    error: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Record:
        if self.generation is None and self.phase in {"submitted", "persisted", "returned"}:
            raise ValueError(f"phase {self.phase} without a generation")
        return self

    @property
    def accepted(self) -> Generation:
        """What was submitted.

        :raises FluxLedgerError: if nothing was.
        """
        if self.generation is None:
            raise FluxLedgerError(
                f"The record of {self.owner.task_id} names no request: its phase is {self.phase}."
            )
        return cast("Generation", self.generation)

    @property
    def landing_plan(self) -> LandingPlan | None:
        """The plan by which the image is to land; ``None`` if the record has no target."""
        if self.target is None:
            return None
        return LandingPlan(
            target=self.target, request=self.request or RequestSummary(), task=self.owner
        )

    @property
    def is_open(self) -> bool:
        """Whether something was paid for, and nobody has got it yet."""
        return self.phase == "submitted"

    @property
    def has_landed(self) -> bool:
        """Whether its image is where it belongs."""
        return self.phase in {"persisted", "returned"}

    @property
    def was_refused(self) -> bool:
        """Whether nothing was paid, and nothing was there before."""
        return self.phase == "failed" and self.generation is None

    @property
    def is_uncertain(self) -> bool:
        """Whether it may have been billed, and nobody can tell."""
        return self.phase == "intent"

    def changed(
        self, phase: Phase, *, generation: Generation | None = None, error: Any = None
    ) -> Record:
        """Return the record in another phase."""
        changes: dict[str, Any] = {"phase": phase, "updated_at": _now(), "error": error}
        if generation is not None:
            changes["generation"] = dict(generation)
        return self.model_copy(update=changes)

    def as_json(self) -> dict[str, Any]:
        """Return the record as it is stored in the task state store."""
        return self.model_dump(mode="json")

    def as_bytes(self) -> bytes:
        """Return the record as it is stored in a file."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def parse_record(stored: bytes | Mapping[str, Any], location: str) -> Record:
    """Return a record that was stored.

    :param location: where it is, for the error.
    :raises FluxLedgerError: if it is no record that this version reads. That is never taken for "nothing was paid".
    """
    try:
        if isinstance(stored, bytes):
            return Record.model_validate_json(stored)
        return Record.model_validate(stored)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        reason = f"{where}: {redact(first['msg'])[:200]}"
        if where == "schema_version":
            reason = (
                f"it is not of version {_VERSION}; a later version of this package has written it"
            )
        raise FluxLedgerError(
            f"The record {location} of what was paid for cannot be read ({reason}). It may name an image that was paid "
            "for, so nothing is submitted. Look at it; remove it to accept a possible second charge."
        ) from None
