"""Read the costs in one object of a ledger: in a record those of one submit, in a segment of many.

Only the members that decide about costs are read. Whoever may write to the bucket may have written
the object, so a part counts only for the task at whose place the object is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from airflow_provider_flux.accounting.record_place import MAX_ID_CHARACTERS, is_at_place_of
from airflow_provider_flux.accounting.submit_cost import (
    GenerationCost,
    digest,
    generation_cost,
    parse_submit_time,
)
from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record import PHASE_ORDER, Phase, describe_invalid

#: The name of a record or of a segment, below the folder of its ledger.
_OBJECT_NAME = re.compile(
    r"(?P<ledger>.*)/[^/]+/[^/]+/[^/]+-[0-9a-f]{16}"
    r"(?:\.[0-9]+\.json|\.rows/[0-9a-f]{32}\.[0-9]{6}\.jsonl)\Z",
    re.DOTALL,
)

Text = Annotated[str, StringConstraints(max_length=MAX_ID_CHARACTERS)]


@dataclass(frozen=True, slots=True)
class IntentCost:
    """The intent of a submit, by the object that holds it.

    :param opened_at: time of the intent, in seconds since 1970 in UTC.
    :param model: name of the model.
    :param estimate: estimated credits; ``None`` if they are not known.
    """

    opened_at: float
    model: str
    estimate: float | None


@dataclass(frozen=True, slots=True)
class SubmitPart:
    """A submit, as far as one object knows it.

    :param claim: digest of the random id of the submit.
    :param at: time of the latest phase, in seconds since 1970 in UTC.
    :param phase: the latest phase.
    :param flux_conn_id: id of the connection to BFL.
    :param intent: the intent; ``None`` if another object holds it.
    :param generation: the accepted request; ``None`` if the object has none.
    :param error: name of the error of phase ``failed``; ``None`` if there is none.
    """

    claim: bytes
    at: float
    phase: Phase
    flux_conn_id: str
    intent: IntentCost | None = None
    generation: GenerationCost | None = None
    error: str | None = None


@dataclass(frozen=True)
class ObjectParts:
    """All that one object says.

    :param owner: the task instance at whose place the object is.
    :param parts: its submits.
    """

    owner: TaskIdentity
    parts: tuple[SubmitPart, ...]


class _Generation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    request_id: Text
    model: Text
    status: Any = None
    cost: Any = None
    cost_source: Any = None
    estimated_cost: Any = None
    image: Any = None
    video: Any = None


class _Error(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Text = ""


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1]
    claim: str
    phase: Phase
    owner: TaskIdentity
    flux_conn_id: Text
    model: Text
    estimated_cost: Any = None
    opened_at: str
    updated_at: str
    generation: _Generation | None = None
    error: _Error | None = None


class _Header(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1]
    owner: TaskIdentity
    flux_conn_id: Text


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: Text
    estimated_cost: Any = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    claim: str
    phase: Phase
    at: str
    facts: _Facts | None = None
    generation: _Generation | None = None
    error: _Error | None = None


def ledger_of(uri: str) -> str | None:
    """Return the folder of the ledger to which an object belongs, by its name.

    :param uri: URI of any object.
    :return: the folder without a slash at its end; ``None`` if the name is none of a ledger.
    """
    match = _OBJECT_NAME.match(uri)
    return match["ledger"] if match else None


def parse_object(uri: str, ledger: str, data: bytes) -> ObjectParts:
    """Return what an object of a ledger says.

    :param uri: its URI, for errors and for the check of its place.
    :param ledger: the folder of its ledger, see :func:`ledger_of`.
    :param data: its bytes.
    :raises FluxLedgerError: if it cannot be read, or if it names another task than that at whose
        place it is.
    """
    found = _parse(uri, data, is_segment=uri.endswith(".jsonl"))
    if not is_at_place_of(uri, ledger, found.owner):
        raise FluxLedgerError(
            f"{uri} names a task at whose place it is not, so its costs count for nobody. Inspect "
            "it: it was moved, or somebody else wrote it."
        )
    return found


def parse_stored_record(location: str, owner: TaskIdentity, data: bytes) -> ObjectParts:
    """Return what a record in Airflow's database says.

    :param location: its location, for errors.
    :param owner: the task instance that Airflow stores it for.
    :param data: its JSON.
    :raises FluxLedgerError: if it cannot be read.
    """
    return ObjectParts(owner, _parse(location, data, is_segment=False).parts)


def _parse(uri: str, data: bytes, *, is_segment: bool) -> ObjectParts:
    try:
        return _parse_segment(data) if is_segment else _parse_record(data)
    except ValidationError as error:
        reason = describe_invalid(error)
    except (ValueError, OverflowError) as error:
        reason = str(error)
    raise FluxLedgerError(f"{uri} cannot be read ({reason}). Its costs are missing.") from None


def _parse_record(data: bytes) -> ObjectParts:
    record = _Record.model_validate_json(data)
    if record.generation is None and record.phase in {"submitted", "persisted", "returned"}:
        raise ValueError(f"phase {record.phase} needs a generation")
    part = SubmitPart(
        digest(record.claim),
        _seconds(record.updated_at),
        record.phase,
        record.flux_conn_id,
        IntentCost(_seconds(record.opened_at), record.model, read_amount(record.estimated_cost)),
        _cost_of(record.generation),
        record.error.type if record.error else None,
    )
    return ObjectParts(record.owner, (part,))


def _parse_segment(data: bytes) -> ObjectParts:
    lines = data.splitlines()
    header = _Header.model_validate_json(lines[0] if lines else b"")
    parts: dict[bytes, SubmitPart] = {}
    for part in _parse_entries(lines[1:], header.flux_conn_id):
        earlier = parts.get(part.claim)
        parts[part.claim] = part if earlier is None else merge_parts(earlier, part)
    return ObjectParts(header.owner, tuple(parts.values()))


def _parse_entries(lines: list[bytes], flux_conn_id: str) -> Iterator[SubmitPart]:
    for line in lines:
        entry = _Entry.model_validate_json(line)
        at = _seconds(entry.at)
        facts = entry.facts
        yield SubmitPart(
            digest(entry.claim),
            at,
            entry.phase,
            flux_conn_id,
            IntentCost(at, facts.model, read_amount(facts.estimated_cost)) if facts else None,
            _cost_of(entry.generation),
            entry.error.type if entry.error else None,
        )


def merge_parts(first: SubmitPart, second: SubmitPart) -> SubmitPart:
    """Return what two parts of one submit say together, in whichever order they are read.

    :param first: a part.
    :param second: another part of the same submit.
    """
    latest, other = (second, first) if _rank(second) >= _rank(first) else (first, second)
    intents = [part.intent for part in (latest, other) if part.intent]
    return SubmitPart(
        latest.claim,
        latest.at,
        latest.phase,
        latest.flux_conn_id,
        min(intents, key=lambda intent: intent.opened_at) if intents else None,
        latest.generation or other.generation,
        latest.error,
    )


def _rank(part: SubmitPart) -> tuple[int, float]:
    return PHASE_ORDER[part.phase], part.at


def _cost_of(generation: _Generation | None) -> GenerationCost | None:
    return None if generation is None else generation_cost(dict(generation))


def _seconds(text: str) -> float:
    """Return a time in ISO 8601 as seconds since 1970."""
    return parse_submit_time(text).timestamp()
