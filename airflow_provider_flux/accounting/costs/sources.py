"""Find the ledgers of tasks: in folders, or where this Airflow knows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from airflow_provider_flux.accounting.costs.index import CostIndex, ReadObject
from airflow_provider_flux.accounting.costs.ledger_parts import parse_stored_record
from airflow_provider_flux.accounting.costs.refresh import OnStep, Progress, refresh_folders
from airflow_provider_flux.accounting.costs.report import Scope
from airflow_provider_flux.accounting.record_place import is_store
from airflow_provider_flux.bfl.errors import FluxError, FluxRequestError, FluxStorageError
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record_files import stem_of
from airflow_provider_flux.object_store.filesystem import find_missing_bucket, open_path
from airflow_provider_flux.object_store.listing import ListedObject
from airflow_provider_flux.recovery import metadata_db
from airflow_provider_flux.recovery.metadata_db import StoredValue

#: Stands for the folder of a ledger for the records in Airflow's database.
DATABASE_LEDGER = "airflow-database:"
_VALUES_AT_ONCE = 500


def check_folders(folders: Sequence[str]) -> None:
    """Check that folders which a user names can be searched.

    :param folders: URIs of folders, or local paths.
    :raises FluxRequestError: if a path names all files of the machine or of a store, or no folder.
    :raises FluxConfigurationError: if a store cannot be used.
    :raises FluxStorageError: if there is no such bucket.
    """
    for folder in folders:
        if not folder.rpartition("://")[2].strip("/"):
            raise FluxRequestError(
                f"PATH={folder!r} names all files there are. Name the folder at the beginning of "
                "output_path or ledger_path."
            )
        path = open_path(f"{folder.rstrip('/')}/", field="PATH")
        if path.protocol in {"", "file", "local"}:
            if not Path(path.path).is_dir():
                raise FluxRequestError(f"PATH={folder!r} is no folder of this machine.")
        elif bucket := find_missing_bucket(folder):
            raise FluxStorageError(f"PATH={folder!r} cannot be searched: no bucket {bucket!r}.")


def scope_of_folders(folders: Sequence[str]) -> Scope:
    """Return the scope of all ledgers below folders that a user names.

    :param folders: URIs of folders, or local paths.
    """
    return Scope(folders=[f"{folder.rstrip('/')}/" for folder in folders])


def scope_of_database() -> Scope:
    """Return the scope of the ledgers that Airflow's database knows.

    The records of a DAG count only in folders in which its own tasks keep them, by their XComs. So
    nobody can charge a DAG by a record in the folder of another one.
    """
    ledgers: dict[str, set[str] | None] = {DATABASE_LEDGER: None}
    for dag_id, folder in metadata_db.ledger_folders_by_dag():
        if not is_store(folder):
            continue
        dags = ledgers.setdefault(folder.rstrip("/"), set())
        if dags is not None:
            dags.add(dag_id)
    return Scope(ledgers=ledgers)


def refresh_scope(
    index: CostIndex, scope: Scope, on_step: OnStep = lambda progress: None
) -> Progress:
    """Bring the index up to date with all ledgers of a scope.

    :param index: the index.
    :param scope: the scope.
    :param on_step: called after each step. Does nothing by default.
    :return: what was read.
    """
    stored = Progress()
    if DATABASE_LEDGER in scope.ledgers:
        _refresh_database(index, stored, on_step)
    progress = refresh_folders(index, sorted({*scope.folders, *_dag_folders(scope)}), on_step)
    progress.listed += stored.listed
    progress.changed += stored.changed
    progress.read += stored.read
    return progress


def describe_problems(index: CostIndex, scope: Scope, limit: int) -> tuple[int, list[str]]:
    """Return the number of objects of a scope that do not count, and the first reasons.

    :param index: the index.
    :param scope: the scope.
    :param limit: number of reasons at most.
    """
    count, reasons = 0, list[str]()
    database = [f"{DATABASE_LEDGER}/"] if DATABASE_LEDGER in scope.ledgers else []
    for folder in [*scope.folders, *_dag_folders(scope), *database]:
        found, some = index.problems(folder, limit)
        count, reasons = count + found, [*reasons, *some]
    return count, reasons[:limit]


def _dag_folders(scope: Scope) -> Iterator[str]:
    """Yield the folder of each DAG in each ledger, and nothing else that may be beside it."""
    for ledger, dag_ids in scope.ledgers.items():
        for dag_id in dag_ids or ():
            if scope.dag_ids is not None and dag_id not in scope.dag_ids:
                continue
            with suppress(FluxError):  # no record has such a name
                stem = stem_of(ledger, TaskIdentity(dag_id=dag_id, run_id="r", task_id="t"))
                yield f"{stem.rsplit('/', 2)[0]}/"


def _refresh_database(index: CostIndex, progress: Progress, on_step: OnStep) -> None:
    """Bring the index up to date with the records in the task state store of Airflow."""
    index.begin_listing()
    known = metadata_db.list_values()
    listed = {_as_object(number, version): number for number, version in known}
    for part in _chunks(list(listed)):
        progress.listed += len(part)
        changed = index.find_changed(part)
        progress.changed += len(changed)
        values = metadata_db.read_stored([listed[item] for item in changed])
        objects = {listed[item]: item for item in changed}
        index.replace(_parse_value(objects[value.id], value) for value in values)
        progress.read += len(changed)
        on_step(progress)
    index.remove_unlisted(f"{DATABASE_LEDGER}/")


def _as_object(number: int, version: str) -> ListedObject:
    return ListedObject(f"{DATABASE_LEDGER}/{number}", version)


def _parse_value(item: ListedObject, value: StoredValue) -> ReadObject:
    try:
        found = parse_stored_record(value.location, value.owner, value.json)
    except FluxError as error:
        return ReadObject(item, DATABASE_LEDGER, None, error.message)
    return ReadObject(item, DATABASE_LEDGER, found)


def _chunks(items: list[ListedObject]) -> Iterator[list[ListedObject]]:
    rest = iter(items)
    while part := list(islice(rest, _VALUES_AT_ONCE)):
        yield part
