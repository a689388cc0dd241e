"""The journal of many rows, in words: what one line of it says, and what its lines say together."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pendulum
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import Phase, Record

#: A later phase of one submit replaces an earlier one, in whatever order, and by whomever, they were written.
_ORDER: dict[Phase, int] = {"intent": 0, "submitted": 1, "failed": 2, "persisted": 3, "returned": 4}


def _now() -> str:
    return pendulum.now("UTC").isoformat()


class SegmentHeader(BaseModel):
    """The first line of each segment: what is common to the submits of one try.

    :param session: a random id of the try, or of whoever else writes.
    :param clear_id: changes when a user clears the task, not when Airflow retries it.
    :param target: where images land; what differs by row is in the notes.
    :param is_closed: whether the try has ended and written down all it knows.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    session: str = Field(default_factory=lambda: uuid.uuid4().hex)
    opened_at: str = Field(default_factory=_now)
    owner: TaskIdentity
    clear_id: str
    flux_conn_id: str
    target: Target
    is_closed: bool = False


class IntentFacts(BaseModel):
    """What was about to be submitted.

    :param row_fingerprint: fingerprint of the row as it was given. That of the generation counts the bytes of its inputs.
    :param request: what the sidecar says of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    index: int
    model: str
    row_fingerprint: str
    fingerprint: str
    estimated_cost: float | None = None
    request: RequestSummary


class JournalEntry(BaseModel):
    """A further line: what has happened to one submit.

    :param claim: a random id of the submit. One that is made anew gets another.
    :param key: of its row.
    :param facts: of an intent, which is the first note of a submit.
    :param error: why there is nothing to collect, as :meth:`FluxError.as_dict` gives it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    claim: str
    key: str
    phase: Phase
    at: str
    facts: IntentFacts | None = None
    generation: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def intent_entry(
    request: GenerationRequest, *, index: int, key: str, row_fingerprint: str, facts: RequestSummary
) -> dict[str, Any]:
    """Return the note that a request is about to be submitted; its ``claim`` names the submit from then on.

    :param row_fingerprint: fingerprint of the row as it was given.
    :param facts: what the sidecar will say of the request.
    """
    said = {
        "index": index,
        "model": request.model,
        "row_fingerprint": row_fingerprint,
        "fingerprint": request.fingerprint,
        "estimated_cost": estimate_cost(request).credits,
        "request": facts.model_dump(mode="json"),
    }
    return {"claim": uuid.uuid4().hex, "key": key, "phase": "intent", "at": _now(), "facts": said}


def phase_entry(
    claim: str,
    key: str,
    phase: Phase,
    *,
    generation: Generation | None = None,
    error: FluxError | None = None,
) -> dict[str, Any]:
    """Return the note that a submit has come to another phase."""
    note: dict[str, Any] = {"claim": claim, "key": key, "phase": phase, "at": _now()}
    if generation is not None:
        note["generation"] = generation
    if error is not None:
        note["error"] = error.as_dict()
    return note


def encode_line(line: dict[str, Any]) -> bytes:
    """Return a line as it is stored."""
    # Half a character, which an answer of the service may hold, is not UTF-8: the segment could not be read again.
    return (
        json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"
    )


def parse_segment(data: bytes, location: str) -> tuple[SegmentHeader, list[JournalEntry]]:
    """Return what a segment says.

    :raises FluxLedgerError: if any of its lines cannot be read. That is never taken for "nothing was paid".
    """
    lines = data.splitlines()
    notes: list[JournalEntry] = []
    try:
        header = SegmentHeader.model_validate_json(lines[0] if lines else b"")
        for line in lines[1:]:
            notes.append(JournalEntry.model_validate_json(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        reason = f"after {len(notes)} notes, {where}: {redact(first['msg'])[:200]}"
        if where == "schema_version":
            reason = "it is not of version 1; a later version of this package has written it"
        raise FluxLedgerError(
            f"The journal {location} of what was paid for cannot be read ({reason}). It may name images that were paid "
            "for, so nothing is submitted. Look at it; remove it to accept a possible second charge."
        ) from None
    return header, notes


@dataclass
class JournaledSubmit:
    """One submit, by all that was written of it."""

    header: SegmentHeader
    facts: IntentFacts
    claim: str
    key: str
    opened_at: str
    phase: Phase = "intent"
    updated_at: str = ""
    generation: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def add(self, note: JournalEntry) -> None:
        """Learn what a note says of it."""
        is_news = _ORDER[note.phase] >= _ORDER[self.phase]
        if note.generation is not None and (is_news or self.generation is None):
            self.generation = note.generation
        if is_news:
            self.phase, self.updated_at, self.error = note.phase, note.at, note.error

    @property
    def target(self) -> Target:
        """The target of its image."""
        return self.header.target.model_copy(update={"index": self.facts.index, "key": self.key})

    @property
    def landing_plan(self) -> LandingPlan:
        """The plan by which its image is to land."""
        return LandingPlan(target=self.target, request=self.facts.request, task=self.header.owner)

    def as_record(self) -> Record:
        """Return it as the record of a task that generates one image."""
        return Record(
            claim=self.claim,
            phase=self.phase,
            owner=self.header.owner,
            clear_id=self.header.clear_id,
            flux_conn_id=self.header.flux_conn_id,
            model=self.facts.model,
            fingerprint=self.facts.fingerprint,
            estimated_cost=self.facts.estimated_cost,
            opened_at=self.opened_at,
            updated_at=self.updated_at or self.opened_at,
            generation=self.generation,
            target=self.target,
            request=self.facts.request,
            error=self.error,
        )


def fold_entries(
    segments: Iterable[tuple[SegmentHeader, list[JournalEntry]]],
) -> Iterator[JournaledSubmit]:
    """Yield the submits of all segments, in the order of their intents within a segment.

    A note may stand in another segment than its intent, and before it: that of ``airflow flux recover``, say.

    :raises FluxLedgerError: for a note without an intent: a segment is missing.
    """
    submits: dict[str, JournaledSubmit] = {}
    early: list[JournalEntry] = []
    for header, notes in sorted(segments, key=lambda one: one[0].opened_at):
        for note in notes:
            if note.facts is not None:
                submits[note.claim] = JournaledSubmit(
                    header, note.facts, note.claim, note.key, note.at
                )
            elif note.claim in submits:
                submits[note.claim].add(note)
            else:
                early.append(note)
    for note in early:
        if note.claim not in submits:
            raise FluxLedgerError(
                f"The journal names the submit {note.claim} ({note.phase} at {note.at}), and the segment with its "
                "intent is missing. Nothing is submitted: what else it held is not known."
            )
        submits[note.claim].add(note)
    yield from submits.values()
