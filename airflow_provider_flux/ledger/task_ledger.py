"""The ledger of one task instance: its records, and the claim of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import TaskIdentity, identify_task
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.clear_id import clear_id_of
from airflow_provider_flux.ledger.ledger_host import (
    HostedRecordStore,
    LedgerHost,
    LostLedger,
    open_ledger_host,
)
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_files import (
    FileRecordStore,
    open_record,
    record_write_options,
    stem_of,
)
from airflow_provider_flux.ledger.record_store import StoredRecord, TaskRecordStore
from airflow_provider_flux.ledger.record_task_state import TaskStateRecordStore
from airflow_provider_flux.object_store.filesystem import open_path


class TaskLedger:
    """The records of one task instance.

    Airflow runs one try of a task at a time, but a killed try may live on for a while. If two tries
    submit at once, each checks after its intent whether the other has written one too.

    :param store: the store of the records.
    :param owner: the task instance and its current try.
    :param clear_id: id of the clear that the current try belongs to, see
        :func:`~airflow_provider_flux.ledger.clear_id.clear_id_of`.
    :param host: the machine of the ledger; ``None`` if the ledger is not on a local disk.
    """

    def __init__(
        self,
        store: TaskRecordStore,
        owner: TaskIdentity,
        clear_id: str,
        host: LedgerHost | None = None,
    ) -> None:
        self._store = store if host is None else HostedRecordStore(store, host)
        self._owner = owner
        self._host = host
        self._next_number = 1
        self.clear_id = clear_id

    @property
    def next_number(self) -> int:
        """The number of the next record, after :meth:`read_records`."""
        return self._next_number

    def read_records(self) -> list[StoredRecord]:
        """Return the records, the latest last.

        If a record was deleted, for example by its age, a later one counts nevertheless. Each try
        makes about one record, so a try looks for records up to its own number. A record that
        follows none of the others and is older than them does not count: it is of an earlier run
        of the same name.

        :raises FluxLedgerError: if one of them cannot be read.
        :raises FluxStorageError: if the store fails.
        """
        self._next_number = number = 1
        records: list[StoredRecord] = []
        while (record := self._store.read(number)) or number < (self._owner.try_number or 1):
            if record is not None:
                latest = records[-1].record if records else None
                has_gap = number > self._next_number
                if latest is None or _comes_after(record, latest, has_gap=has_gap):
                    records.append(StoredRecord(self._store, number, record))
                self._next_number = number + 1
            number += 1
        return records

    def find_lost_ledger(self) -> LostLedger | None:
        """Find a ledger of earlier tries on another machine. Call it if there is no record."""
        return self._host.find_lost_ledger() if self._host else None

    def find_record(self, generation: Generation) -> StoredRecord | None:
        """Return the record of a generation; ``None`` if there is none.

        If no record names the request, the last one counts if its answer was not recorded.

        :param generation: an accepted request.
        :raises FluxLedgerError: if a record cannot be read.
        :raises FluxStorageError: if the store fails.
        """
        records = self.read_records()
        for stored in records:
            if stored.record.has_request(generation["request_id"]):
                return stored
        if records and records[-1].record.is_waiting_for(generation):
            return records[-1]
        return None

    def claim(
        self,
        request: GenerationRequest,
        plan: LandingPlan | None,
        *,
        flux_conn_id: str,
        latest: StoredRecord | None,
    ) -> StoredRecord:
        """Record the intent to submit a request, with the next number.

        :param request: the request.
        :param plan: how its image is to land; ``None`` without ``output_path``.
        :param flux_conn_id: id of the connection to BFL.
        :param latest: the last record of :meth:`read_records`, which is to be called first.
        :raises FluxLedgerError: if another process submits for the same task at this moment.
        :raises FluxStorageError: if the intent cannot be written.
        """
        record = Record(
            follows=latest.record.claim if latest else None,
            owner=self._owner,
            clear_id=self.clear_id,
            flux_conn_id=flux_conn_id,
            model=request.model,
            fingerprint=request.fingerprint,
            estimated_cost=estimate_cost(request).credits,
            target=plan and plan.target,
            request=plan and plan.request,
        )
        claimed = StoredRecord(self._store, self._next_number, record)
        try:
            self._store.create(claimed.number, record)
        except FluxLedgerError:
            raise
        except BaseException:  # The write may have succeeded anyway: an intent looks like a submit.
            self._withdraw(claimed)
            raise
        if latest and self._has_changed(latest):
            self._withdraw(claimed)
            raise _concurrent_submit(latest.location)
        return claimed

    def claim_again(self, stored: StoredRecord) -> None:
        """Record the intent to submit a refused request once more.

        :param stored: the record of the request.
        :raises FluxLedgerError: if another process has claimed the next number meanwhile.
        :raises FluxStorageError: if the intent cannot be written.
        """
        stored.write("intent")
        if self._store.read(stored.number + 1) is not None:
            raise _concurrent_submit(self._store.location(stored.number + 1))

    def _has_changed(self, latest: StoredRecord) -> bool:
        """Whether a killed try, which lives on, has changed the record on which a claim rests."""
        if latest.record.phase not in {"intent", "failed"}:
            return False
        current = self._store.read(latest.number)
        return current is not None and current.phase != latest.record.phase

    def _withdraw(self, claimed: StoredRecord) -> None:
        """Mark an intent as failed, if this try wrote it and if the store allows it."""
        with suppress(FluxError):
            current = self._store.read(claimed.number)
            if current is not None and current.claim == claimed.record.claim:
                claimed.write_or_warn("failed", error=FluxError("Nothing was sent."))


def open_ledger(
    context: Mapping[str, Any], folder: str | None, target: Target | None
) -> TaskLedger | None:
    """Return the ledger of a running task; ``None`` if no store can keep records.

    :param context: the context of the running task.
    :param folder: folder of the records; ``None`` for the task state store, if Airflow has one.
    :param target: where the image lands, for the options of the writes.
    :raises FluxConfigurationError: if the store of ``folder`` cannot be used.
    """
    owner = identify_task(context["ti"])
    if owner.dag_id is None:
        return None  # Airflow does not run this task, so no second try will read a record.
    store: TaskRecordStore
    if folder:
        open_path(folder, field="ledger_path")
        store = FileRecordStore(stem_of(folder, owner), record_write_options(folder, target))
    elif (task_state := context.get("task_state_store")) is not None:
        store = TaskStateRecordStore(task_state)
    else:
        return None
    return TaskLedger(store, owner, clear_id_of(context), open_ledger_host(context, folder))


def find_record(
    context: Mapping[str, Any],
    generation: Generation,
    uri: str | None,
    folder: str | None,
    target: Target | None,
) -> StoredRecord | None:
    """Return the record of a generation, after a deferral; ``None`` if there is none.

    :param context: the context of the running task.
    :param generation: the generation for which the task deferred.
    :param uri: URI of the record, if it is known.
    :param folder: folder of the records; ``None`` for the task state store, if Airflow has one.
    :param target: where the image lands, for the options of the writes.
    :raises FluxLedgerError: if a record cannot be read.
    :raises FluxStorageError: if the store fails.
    :raises FluxConfigurationError: if the store cannot be used.
    """
    if uri:
        return open_record(uri, target)
    ledger = open_ledger(context, folder, target)
    return ledger.find_record(generation) if ledger else None


def _comes_after(record: Record, latest: Record, *, has_gap: bool) -> bool:
    """Whether a record is of the same chain as the one before it.

    After a gap the times decide, because the record that it follows is gone.
    """
    return record.follows == latest.claim or (has_gap and record.opened_at >= latest.opened_at)


def _concurrent_submit(location: str) -> FluxLedgerError:
    return FluxLedgerError(
        f"Another process, perhaps a killed try, is submitting for this task: {location}. Nothing "
        "was submitted here. Clear the task to resume that generation."
    )
