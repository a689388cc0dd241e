"""Records in the task state store of Airflow 3.3 and newer, which survives retries and clears."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.ledger.delivered_answer import (
    ANSWER_KEY_PREFIX,
    DeliveredAnswer,
    parse_answer,
)
from airflow_provider_flux.ledger.record import Record, parse_record

#: The key of a record is this prefix and its number.
RECORD_KEY_PREFIX = "flux.submit."

#: BFL keeps a result for minutes or hours, so no record is needed for longer.
_RETENTION = timedelta(days=30)


class TaskStateRecordStore:
    """The records of one task instance in its task state store.

    :param store: ``task_state_store`` of the task's context.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def location(self, number: int) -> str:
        """Return the key of a record.

        :param number: number of the record.
        """
        return f"{RECORD_KEY_PREFIX}{number} in the task state store"

    def uri(self, number: int) -> None:
        """Return ``None``: a triggerer cannot reach the store.

        :param number: number of the record.
        """

    def read(self, number: int) -> Record | None:
        """Return a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxLedgerError: if the record exists and cannot be read.
        :raises FluxStorageError: if the store fails.
        """
        try:
            stored = self._store.get(f"{RECORD_KEY_PREFIX}{number}")
        except Exception as error:
            raise self._storage_error(number, "read", error) from None
        return None if stored is None else parse_record(stored, self.location(number))

    def read_answer(self, number: int) -> DeliveredAnswer | None:
        """Return the answer that a webhook delivered for a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxStorageError: if the store fails.
        """
        try:
            return parse_answer(self._store.get(f"{ANSWER_KEY_PREFIX}{number}"))
        except Exception as error:
            raise self._storage_error(number, "read", error) from None

    def create(self, number: int, record: Record) -> None:
        """Write a new record. The store has no exclusive create; Airflow runs one try at a time.

        :param number: number of the record.
        :param record: the new record.
        :raises FluxStorageError: if it cannot be written.
        """
        self.update(number, record)

    def update(self, number: int, record: Record) -> None:
        """Replace a record.

        :param number: number of the record.
        :param record: its new content.
        :raises FluxStorageError: if it cannot be written.
        """
        key = f"{RECORD_KEY_PREFIX}{number}"
        try:
            self._store.set(key, record.as_json(), retention=_RETENTION)
        except Exception as error:
            raise self._storage_error(number, "written", error) from None

    def _storage_error(self, number: int, action: str, error: Exception) -> FluxStorageError:
        return FluxStorageError(
            f"The record {self.location(number)} could not be {action} ({type(error).__name__})."
        )
