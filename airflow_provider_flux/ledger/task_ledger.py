"""The ledger of one task instance: its records, and how they are changed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError, FluxStorageError
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import TaskIdentity, identify_task
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import Phase, Record
from airflow_provider_flux.ledger.record_store import (
    FileRecordStore,
    RecordStore,
    TaskRecordStore,
    TaskStateRecordStore,
    read_record_file,
    replace_record_file,
    stem_of,
)
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path

log = logging.getLogger(__name__)

#: XCom under which a task leaves the folder of its records, for ``airflow flux recover``.
LEDGER_FOLDER_XCOM = "flux_ledger"


class StoredRecord:
    """One record, and where it is."""

    def __init__(self, home: RecordStore, number: int, record: Record) -> None:
        self._home = home
        self.number = number
        self.record = record

    @property
    def location(self) -> str:
        """Where it is, for a message."""
        return self._home.location(self.number)

    @property
    def uri(self) -> str | None:
        """The file it is in; ``None`` in the task state store, which a trigger cannot reach."""
        return self.location if isinstance(self._home, FileRecordStore) else None

    def refresh(self) -> None:
        """Read it again: its task, or a trigger, may have changed it.

        :raises FluxLedgerError: if it cannot be read any more.
        :raises FluxStorageError: if the store fails, or it is gone.
        """
        record = self._home.read(self.number)
        if record is None:
            raise FluxStorageError(f"The record {self.location} is gone.")
        self.record = record

    def write(
        self, phase: Phase, *, generation: Generation | None = None, error: FluxError | None = None
    ) -> None:
        """Change it before something happens.

        :raises FluxStorageError: if it cannot be written.
        """
        changed = self.record.changed(phase, generation=generation, error=error and error.as_dict())
        self._home.update(self.number, changed)
        self.record = changed

    def write_or_warn(
        self, phase: Phase, *, generation: Generation | None = None, error: FluxError | None = None
    ) -> bool:
        """Change it after something has happened, which must not fail for that; say whether it could be written."""
        try:
            self.write(phase, generation=generation, error=error)
        except FluxError as trouble:
            paid = f" of request {generation['request_id']}" if generation else ""
            log.warning(
                "The record %s%s could not be brought to %s. %s",
                self.location,
                paid,
                phase,
                trouble,
            )
            return False
        return True


class TaskLedger:
    """The records of one task instance.

    Airflow runs one try of a task at a time, but a try that was killed may live on for a while. So of two that would
    submit at once, each looks after its intent is written whether the other has written one too.

    :param clear_id: of this try: it changes when a user clears the task or its run, not when Airflow retries it.
    """

    def __init__(self, home: TaskRecordStore, owner: TaskIdentity, clear_id: str) -> None:
        self._home = home
        self._owner = owner
        self._free = 1
        self.clear_id = clear_id

    def read_records(self) -> list[StoredRecord]:
        """Return the records that follow each other, the latest last.

        Of records that somebody has deleted by their age, a later one may be left. It follows none that is there.

        :raises FluxLedgerError: if one of them cannot be read.
        :raises FluxStorageError: if it cannot be told whether there are any.
        """
        self._free, found = 1, list[StoredRecord]()
        while record := self._home.read(self._free):
            if self._free == 1 or (found and record.follows == found[-1].record.claim):
                found.append(StoredRecord(self._home, self._free, record))
            self._free += 1
        return found

    def find_record(self, generation: Generation) -> StoredRecord | None:
        """Return the record of a request, which may not say so yet."""
        found = self.read_records()
        named = next((one for one in found if _names(one.record, generation["request_id"])), None)
        return named or next(
            (one for one in found[-1:] if is_open_for(one.record, generation)), None
        )

    def claim(
        self,
        request: GenerationRequest,
        plan: LandingPlan | None,
        *,
        flux_conn_id: str,
        latest: StoredRecord | None,
    ) -> StoredRecord:
        """Write down that a request is about to be submitted.

        :param latest: the last of the :meth:`read_records`, which are read before.
        :raises FluxLedgerError: if another process is about to submit for the same task.
        :raises FluxStorageError: if it cannot be written.
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
        entry = StoredRecord(self._home, self._free, record)
        try:
            self._home.create(entry.number, record)
        except FluxLedgerError:
            raise
        except BaseException:  # an intent that was written all the same would look like a submit
            self._withdraw(entry)
            raise
        if latest and latest.record.phase in {"intent", "failed"}:
            before = self._home.read(latest.number)
            if before and before.phase != latest.record.phase:
                self._withdraw(entry)
                raise _taken(latest.location)
        return entry

    def claim_again(self, entry: StoredRecord) -> None:
        """Write down that what was refused is about to be submitted once more.

        :raises FluxLedgerError: if another process has claimed the next number meanwhile.
        :raises FluxStorageError: if it cannot be written.
        """
        entry.write("intent")
        if self._home.read(entry.number + 1) is not None:
            raise _taken(self._home.location(entry.number + 1))

    def _withdraw(self, entry: StoredRecord) -> None:
        """Take back an intent, if it is ours, and as far as the store allows."""
        with suppress(FluxError):
            stored = self._home.read(entry.number)
            if stored is not None and stored.claim == entry.record.claim:
                entry.write_or_warn("failed", error=FluxError("Nothing was sent."))


def publish_ledger_folder(context: Mapping[str, Any], folder: str | None) -> None:
    """Say where a task keeps its records, for ``airflow flux recover``: before anything can fail."""
    if folder and identify_task(context["ti"]).dag_id is not None:
        context["ti"].xcom_push(key=LEDGER_FOLDER_XCOM, value=folder)


def open_ledger(
    context: Mapping[str, Any], folder: str | None, target: Target | None
) -> TaskLedger | None:
    """Return the ledger of a running task; ``None`` if it has no home.

    :raises FluxConfigurationError: if the store of ``folder`` cannot be used.
    """
    owner = identify_task(context["ti"])
    if owner.dag_id is None:
        return None  # not run by Airflow: no second try will ask
    home: TaskRecordStore
    if folder:
        open_path(folder, field="ledger_path")
        home = FileRecordStore(stem_of(folder, owner), record_write_options(folder, target))
    elif (store := context.get("task_state_store")) is not None:
        home = TaskStateRecordStore(store)
    else:
        return None
    return TaskLedger(home, owner, clear_id_of(context))


def open_record(uri: str, target: Target | None) -> StoredRecord | None:
    """Return the record in a file; ``None`` if it is gone.

    :raises FluxLedgerError: if it cannot be read.
    """
    stem, _, number = uri.removesuffix(".json").rpartition(".")
    if not number.isdecimal():
        raise FluxLedgerError(f"{uri} is not the name of a record.")
    open_path(uri, field="ledger_path")
    home = FileRecordStore(stem, record_write_options(uri, target))
    record = home.read(int(number))
    return None if record is None else StoredRecord(home, int(number), record)


async def read_landed_generation(uri: str, request_id: str) -> Generation | None:
    """Return what has landed already, by its record. To be run on the loop of the stores."""
    record = await read_record_file(uri)
    is_it = record is not None and _names(record, request_id) and record.has_landed
    return record.accepted if record is not None and is_it else None


async def mark_landed(uri: str, target: Target, generation: Generation) -> None:
    """Write down, on a triggerer, that the image has landed. To be run on the loop of the stores."""
    try:
        record = await read_record_file(uri)
        if record is not None and is_open_for(record, generation):
            await replace_record_file(
                uri,
                record.changed("persisted", generation=generation),
                record_write_options(uri, target),
            )
    except FluxError as error:
        log.warning("The image has landed, but its record does not say so. %s", error)


def record_write_options(uri: str, target: Target | None) -> WriteOptions:
    """Return how records are stored: encrypted, say, as the images that they lie beside, but not open to the public."""
    content_type = "application/json"
    if not (target and target.root and uri.startswith(target.root)):
        return WriteOptions(content_type)
    manner = target.companion_write_options(content_type)
    return replace(
        manner, options={name: value for name, value in manner.options.items() if name != "ACL"}
    )


def is_open_for(record: Record, generation: Generation) -> bool:
    """Whether it waits for this image; the worker may not have been able to write down what was submitted."""
    if record.is_uncertain:
        return record.fingerprint == generation["fingerprint"]
    return record.is_open and _names(record, generation["request_id"])


def _taken(location: str) -> FluxLedgerError:
    return FluxLedgerError(
        f"Another process, a killed try perhaps, is submitting for this task at this moment: {location}. Nothing was "
        "submitted here. Clear the task to collect what it gets."
    )


def _names(record: Record, request_id: str) -> bool:
    return record.generation is not None and record.generation["request_id"] == request_id


def clear_id_of(context: Mapping[str, Any]) -> str:
    """Return what a clear changes, and a retry does not.

    Clearing a finished task sets ``max_tries`` anew; clearing a finished run, or making one of the same name
    after it was deleted, gives it a new start.
    """
    started = getattr(context.get("dag_run"), "start_date", None)
    tries = getattr(context["ti"], "max_tries", None)
    return f"{tries}/{started.isoformat() if started else None}"
