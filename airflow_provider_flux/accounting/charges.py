"""The charges of an account, as ledgers and journals know them: one for each submit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from airflow_provider_flux.batch.costs import credits_of, is_reported
from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.generation import parse_time
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_files import is_record_of
from airflow_provider_flux.recovery import metadata_db
from airflow_provider_flux.recovery.find import (
    FoundRecord,
    Unreadable,
    read_database,
    read_folder,
)

#: What became of a submit.
#:
#: - ``landed``: its image landed, or its task returned it.
#: - ``submitted``: BFL bills it, and its image has not landed yet.
#: - ``uncertain``: its answer is not known, so it was possibly billed.
#: - ``moderated``, ``failed``: BFL ended it without an image, and without a charge.
#: - ``rejected``: a check rejected its image, which BFL bills.
#: - ``lost``: BFL bills it, and its image is gone.
ChargeOutcome = Literal[
    "landed", "submitted", "uncertain", "moderated", "failed", "rejected", "lost"
]

#: Outcomes that BFL does not bill. It takes the credits at the submit, and gives them back.
NOT_CHARGED: frozenset[ChargeOutcome] = frozenset({"moderated", "failed"})
_OUTCOMES: dict[str, ChargeOutcome] = {
    "FluxModeratedError": "moderated",
    "FluxGenerationError": "failed",
    "FluxRejectedError": "rejected",
    "FluxCheckError": "rejected",
}
#: Folders between the folder of a ledger and the name of a record, or of a journal.
_LEVELS = 3


@dataclass(frozen=True)
class Charge:
    """The charge of one submit.

    :param dag_id: the DAG of its task; ``None`` outside of Airflow.
    :param run_id: the DAG run.
    :param task_id: the task.
    :param map_index: the map index; -1 for a task that is not mapped.
    :param key: key of the row, or of the image; empty if it has none.
    :param model: name of the model.
    :param submitted_at: time of BFL's answer; of the intent, if there is no answer.
    :param credits: credits (1 credit = 0.01 USD) that it costs, or may cost. 0 if BFL gave them
        back, and if nobody knows.
    :param is_reported: whether BFL reported the credits. Otherwise they are those of the price
        list.
    :param outcome: what became of it.
    :param is_uncertain: whether it was possibly billed, since its answer is not known.
    :param request_id: BFL's id of the request; ``None`` if it is not known.
    :param claim: the random id of its record, or of its submit in a journal.
    :param opened_at: time of the intent, before which nothing was sent.
    :param updated_at: time of the latest change of its record.
    :param held: credits that BFL takes at the submit, those that it gives back included; ``None``
        if nobody knows.
    """

    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int
    key: str
    model: str
    submitted_at: datetime
    credits: float
    is_reported: bool
    outcome: ChargeOutcome
    is_uncertain: bool
    request_id: str | None
    claim: str | None
    opened_at: datetime
    updated_at: datetime
    held: float | None


def read_charges(
    folders: Iterable[str],
    since: datetime | None = None,
    until: datetime | None = None,
    on_problem: Callable[[Unreadable], object] = lambda problem: None,
) -> Iterator[Charge]:
    """Yield the charges of all submits below folders, in no order.

    :param folders: folders at the beginning of ``output_path`` or ``ledger_path``. If there is
        none, Airflow's database names those of all tasks, and has the records of tasks without.
    :param since: yield those that were submitted at this time or later; all by default.
    :param until: yield those that were submitted before this time; all by default.
    :param on_problem: called with each record and folder that cannot be read, and with each record
        that stands in the folder of another task. Does nothing by default.
    """
    for _, charge in read_charged_records(folders, on_problem):
        is_early = since is not None and charge.submitted_at < since
        is_late = until is not None and charge.submitted_at >= until
        if not (is_early or is_late):
            yield charge


def read_charged_records(
    folders: Iterable[str], on_problem: Callable[[Unreadable], object] = lambda problem: None
) -> Iterator[tuple[FoundRecord, Charge]]:
    """Yield each record of a submit that BFL did not refuse, with its charge.

    :param folders: as :func:`read_charges` takes them.
    :param on_problem: as :func:`read_charges` takes it.
    """
    seen: set[tuple[str, str]] = set()
    for item in _read_all(list(folders)):
        if isinstance(item, Unreadable):
            on_problem(item)
            continue
        if item.record.is_refused or _is_seen(item, seen):
            continue
        if item.uri is not None and not is_in_own_folder(item.uri, item.record.owner):
            on_problem(_describe_misplaced(item.uri))
            continue
        try:
            charge = charge_of(item.record)
        except ValueError:
            on_problem(_describe_bad_time(item))
            continue
        yield item, charge


def charge_of(record: Record) -> Charge:
    """Return the charge of a record.

    :param record: a record of a submit that BFL did not refuse.
    :raises ValueError: if a time in it is none.
    """
    generation = record.generation
    opened_at, updated_at = parse_time(record.opened_at), parse_time(record.updated_at)
    outcome = _outcome_of(record)
    submitted_at = opened_at if generation is None else parse_time(generation["submitted_at"])
    held = read_amount(record.estimated_cost)
    if generation is not None:
        is_unknown = generation.get("cost") is None and generation.get("estimated_cost") is None
        held = None if is_unknown else credits_of(generation)
    owner = record.owner
    return Charge(
        dag_id=owner.dag_id,
        run_id=owner.run_id,
        task_id=owner.task_id,
        map_index=owner.map_index,
        key=record.target.key if record.target else "",
        model=record.model,
        submitted_at=submitted_at,
        credits=0.0 if outcome in NOT_CHARGED else (held or 0.0),
        is_reported=is_reported(generation),
        outcome=outcome,
        is_uncertain=outcome == "uncertain",
        request_id=None if generation is None else str(generation["request_id"]) or None,
        claim=record.claim,
        opened_at=min(opened_at, submitted_at),
        updated_at=max(updated_at, submitted_at),
        held=held,
    )


def is_in_own_folder(uri: str, owner: TaskIdentity) -> bool:
    """Whether a record stands in the folder of the task instance that it names.

    Whoever may write to the bucket may write a record in the name of any task, but only where that
    bucket is.

    :param uri: URI of the record, or of its journal.
    :param owner: the task instance that the record names.
    """
    parts = uri.rstrip("/").rsplit("/", _LEVELS)
    return len(parts) > _LEVELS and is_record_of(uri, parts[0], owner)


def _read_all(folders: list[str]) -> Iterator[FoundRecord | Unreadable]:
    must_exist = bool(folders)
    if not folders:
        yield from read_database(None, None)
        folders = sorted(metadata_db.ledger_folders_of(None))
    for folder in folders:
        yield from read_folder(folder, must_exist=must_exist)


def _is_seen(found: FoundRecord, seen: set[tuple[str, str]]) -> bool:
    """Whether a record was found before, below another folder."""
    name = (found.uri or found.stored.location, found.record.claim)
    if name in seen:
        return True
    seen.add(name)
    return False


def _outcome_of(record: Record) -> ChargeOutcome:
    match record.phase:
        case "intent":  # with an error, if the balance proves that BFL charged it
            return "lost" if record.error else "uncertain"
        case "submitted":
            return "submitted"
        case "persisted" | "returned":
            return "landed"
        case "failed":
            return _OUTCOMES.get(str((record.error or {}).get("type")), "lost")


def _describe_misplaced(uri: str) -> Unreadable:
    message = f"{uri} names another task than its folder does. It does not count."
    return Unreadable(uri, FluxLedgerError(message))


def _describe_bad_time(found: FoundRecord) -> Unreadable:
    location = found.stored.location
    return Unreadable(location, FluxLedgerError(f"{location} has a time that is none."))
