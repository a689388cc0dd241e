"""The charges of an account, as ledgers and journals know them: one for each submit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_flux.accounting.record_place import is_at_place_of, is_store
from airflow_provider_flux.accounting.submit_cost import (
    Outcome,
    cost_of_submit,
    digest,
    generation_cost,
    parse_submit_time,
)
from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record import PHASE_ORDER, Record
from airflow_provider_flux.recovery import metadata_db
from airflow_provider_flux.recovery.find import (
    FoundRecord,
    Unreadable,
    read_database,
    read_folder,
)

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
    outcome: Outcome
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
    folders: Iterable[str],
    on_problem: Callable[[Unreadable], object] = lambda problem: None,
    is_wanted: Callable[[Charge], bool] = lambda charge: True,
) -> Iterator[tuple[FoundRecord, Charge]]:
    """Yield each submit that BFL did not refuse once, with its charge.

    Of several records of one task that name one submit or one request, the one of the latest phase
    counts, for example of the copy of a ledger. :mod:`~airflow_provider_flux.accounting.costs`
    counts alike.

    :param folders: as :func:`read_charges` takes them.
    :param on_problem: as :func:`read_charges` takes it.
    :param is_wanted: whether a charge counts. Others are not kept in memory. All count by default.
    """
    by_claim = _LatestCopies()
    for item in _read_all(list(folders)):
        if isinstance(item, Unreadable):
            on_problem(item)
            continue
        if item.uri is not None and not _is_in_own_folder(item.uri, item.record.owner):
            on_problem(_describe_misplaced(item.uri))
            continue
        try:
            charge = charge_of(item.record)
        except ValueError:
            on_problem(_describe_bad_time(item))
            continue
        if is_wanted(charge):
            by_claim.add(_owner_of(charge), item.record.claim, item, charge)
    by_request = _LatestCopies()
    for item, charge in by_claim.values():
        by_request.add(_owner_of(charge), charge.request_id or item.record.claim, item, charge)
    yield from (pair for pair in by_request.values() if pair[1].outcome != "refused")


class _LatestCopies:
    """The record that knows most of each submit, of all its copies."""

    def __init__(self) -> None:
        self._latest: dict[tuple[tuple[object, ...], bytes], tuple[FoundRecord, Charge]] = {}

    def add(self, owner: tuple[object, ...], name: str, found: FoundRecord, charge: Charge) -> None:
        """Add a record. The first one of several that know the same counts."""
        key = (owner, digest(name))
        known = self._latest.get(key)
        if known is None or _knowledge_of(found, charge) > _knowledge_of(*known):
            self._latest[key] = (found, charge)

    def values(self) -> Iterable[tuple[FoundRecord, Charge]]:
        """Return one record for each submit."""
        return self._latest.values()


def _knowledge_of(found: FoundRecord, charge: Charge) -> tuple[int, float]:
    credits_ = 0.0 if charge.is_uncertain else charge.credits
    return PHASE_ORDER[found.record.phase], credits_


def _owner_of(charge: Charge) -> tuple[object, ...]:
    return charge.dag_id, charge.run_id, charge.task_id, charge.map_index


def charge_of(record: Record) -> Charge:
    """Return the charge of a record.

    :param record: the record.
    :raises ValueError: if a time in it is none.
    """
    generation = record.generation
    opened_at, updated_at = map(parse_submit_time, (record.opened_at, record.updated_at))
    submitted_at = opened_at
    accepted = None
    if generation is not None:
        with suppress(KeyError, TypeError, ValueError):  # else the intent is the best that is known
            submitted_at = parse_submit_time(generation["submitted_at"])
        accepted = generation_cost(generation)
    error = None if record.error is None else str(record.error.get("type"))
    cost = cost_of_submit(record.phase, error, accepted, read_amount(record.estimated_cost))
    owner = record.owner
    return Charge(
        dag_id=owner.dag_id,
        run_id=owner.run_id,
        task_id=owner.task_id,
        map_index=owner.map_index,
        key=record.target.key if record.target else "",
        model=record.model,
        submitted_at=submitted_at,
        credits=cost.credits + cost.possible,
        is_reported=bool(accepted and accepted.is_reported),
        outcome=cost.outcome,
        is_uncertain=cost.outcome == "uncertain",
        request_id=None if generation is None else str(generation["request_id"]) or None,
        claim=record.claim,
        opened_at=min(opened_at, submitted_at),
        updated_at=max(updated_at, submitted_at),
        held=cost.held,
    )


def _is_in_own_folder(uri: str, owner: TaskIdentity) -> bool:
    """Whether a record, or a journal, stands in the folder of the task that it names."""
    parts = uri.rstrip("/").rsplit("/", _LEVELS)
    return len(parts) > _LEVELS and is_at_place_of(uri, parts[0], owner)


def _read_all(folders: list[str]) -> Iterator[FoundRecord | Unreadable]:
    must_exist = bool(folders)
    if not folders:
        yield from read_database(None, None)
        folders = sorted(filter(is_store, metadata_db.ledger_folders_of(None)))
    for folder in folders:
        yield from read_folder(folder, must_exist=must_exist)


def _describe_misplaced(uri: str) -> Unreadable:
    message = f"{uri} names another task than its folder does. It does not count."
    return Unreadable(uri, FluxLedgerError(message))


def _describe_bad_time(found: FoundRecord) -> Unreadable:
    location = found.stored.location
    return Unreadable(location, FluxLedgerError(f"{location} has a time that is none."))
