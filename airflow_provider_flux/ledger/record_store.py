"""A record and its store: the protocol that each kind of store follows."""

from __future__ import annotations

import logging
from typing import Protocol

from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.ledger.delivered_answer import DeliveredAnswer, accepted_by
from airflow_provider_flux.ledger.record import Phase, Record

log = logging.getLogger(__name__)


class RecordStore(Protocol):
    """The records of one task instance, numbered from 1.

    Only the owner of a record writes it. So a store needs no listing, and no lock except the claim
    of a number.
    """

    def location(self, number: int) -> str:
        """Return the location of a record, for a message.

        :param number: number of the record.
        """

    def uri(self, number: int) -> str | None:
        """Return the URI of a record; ``None`` if a triggerer cannot reach the record.

        :param number: number of the record.
        """

    def read(self, number: int) -> Record | None:
        """Return a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxLedgerError: if the record exists and cannot be read.
        :raises FluxStorageError: if the store fails.
        """

    def read_answer(self, number: int) -> DeliveredAnswer | None:
        """Return the answer that a webhook delivered for a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxStorageError: if the store fails.
        """

    def update(self, number: int, record: Record) -> None:
        """Replace a record.

        :param number: number of the record.
        :param record: its new content.
        :raises FluxStorageError: if it cannot be written.
        """


class TaskRecordStore(RecordStore, Protocol):
    """The records of one task instance, for the task itself, which may submit."""

    def create(self, number: int, record: Record) -> None:
        """Claim a number with a new record.

        :param number: the number to claim.
        :param record: the new record.
        :raises FluxLedgerError: if another process has claimed the number.
        :raises FluxStorageError: if it cannot be written.
        """


class StoredRecord:
    """A record and its store.

    :param store: the store that holds it.
    :param number: its number in that store.
    :param record: its content when it was read or written last.
    """

    def __init__(self, store: RecordStore, number: int, record: Record) -> None:
        self._store = store
        self.number = number
        self.record = record

    @property
    def location(self) -> str:
        """The location of the record, for a message."""
        return self._store.location(self.number)

    @property
    def uri(self) -> str | None:
        """The URI of the record; ``None`` if a triggerer cannot reach the record."""
        return self._store.uri(self.number)

    def refresh(self) -> None:
        """Read the record again: its task or a trigger may have changed it.

        :raises FluxLedgerError: if it cannot be read any more.
        :raises FluxStorageError: if the store fails, or the record is gone.
        """
        record = self._store.read(self.number)
        if record is None:
            raise FluxStorageError(f"The record {self.location} is gone, or may not be read.")
        self.record = record

    def resolve_lost_answer(self, *, is_written: bool) -> bool:
        """Let the record know its request, if it is uncertain and a webhook named the request.

        A store that fails leaves the record uncertain, with a warning.

        :param is_written: whether the record is written, too. A failed write is logged.
        :return: whether the record knows its request now.
        """
        record = self.record
        if not record.is_uncertain:
            return False
        try:
            answer = self._store.read_answer(self.number)
        except FluxError as error:
            log.warning("The answer to the submit of %s is not known. %s", self.location, error)
            return False
        if answer is None or answer.claim != record.claim:
            return False
        generation = accepted_by(answer, record)
        log.warning(
            "The answer to the submit of %s was lost. A webhook of BFL named its request %s",
            self.location,
            answer.request_id,
        )
        if is_written:
            self.write_or_warn("submitted", generation=generation)
        self.record = record.in_phase("submitted", generation=generation)
        return True

    def write(
        self, phase: Phase, *, generation: Generation | None = None, error: FluxError | None = None
    ) -> None:
        """Write a new phase before the event happens.

        :param phase: the new phase.
        :param generation: the accepted request; ``None`` keeps the one in the record.
        :param error: the reason for phase ``failed``.
        :raises FluxStorageError: if it cannot be written.
        """
        changed = self.record.in_phase(phase, generation=generation, error=error)
        self._store.update(self.number, changed)
        self.record = changed

    def set_clear_id(self, clear_id: str) -> None:
        """Make the record, which a command wrote, one of the clear of a task.

        :param clear_id: clear id of the task that goes on with it.
        :raises FluxStorageError: if it cannot be written.
        """
        changed = self.record.model_copy(update={"clear_id": clear_id})
        self._store.update(self.number, changed)
        self.record = changed

    def write_or_warn(
        self, phase: Phase, *, generation: Generation | None = None, error: FluxError | None = None
    ) -> bool:
        """Write a new phase after the event. A failed write is logged and raises nothing.

        :param phase: the new phase.
        :param generation: the accepted request; ``None`` keeps the one in the record.
        :param error: the reason for phase ``failed``.
        :return: whether the phase was written.
        """
        try:
            self.write(phase, generation=generation, error=error)
        except FluxError as write_error:
            request = f" of request {generation['request_id']}" if generation else ""
            log.warning(
                "The record %s%s could not be changed to phase %s. %s",
                self.location,
                request,
                phase,
                write_error,
            )
            return False
        return True
