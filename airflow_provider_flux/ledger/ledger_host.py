"""The machine whose disk has the ledger of a task, so that a retry elsewhere does not pay again."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_flux.ledger.clear_id import clear_id_of
from airflow_provider_flux.ledger.delivered_answer import DeliveredAnswer
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_store import TaskRecordStore

log = logging.getLogger(__name__)

#: Key in the task state store that names the machine of a local ledger.
LEDGER_HOST_KEY = "flux.ledger_host"
_RETENTION = timedelta(days=30)
#: A host name. Users may edit the task state store, and the name is logged.
_HOST = re.compile(r"[\w.\-]{1,253}")
_REMEDY = "Set output_path or ledger_path to a store that all workers share."


@dataclass(frozen=True)
class LostLedger:
    """A ledger on the disk of another machine, of which this try has no record.

    :param folder: folder of the ledger.
    :param host: host name of the machine.
    :param clear_id: clear id of the try that submitted there.
    """

    folder: str
    host: str
    clear_id: str

    def describe(self) -> str:
        """Return a message about the submits in the ledger."""
        return (
            f"An earlier try of this task recorded its submits in {self.folder} on the machine "
            f"{self.host}. This try runs on {socket.gethostname()}, whose disk has no record of "
            f"them. They were possibly billed. {_REMEDY}"
        )


class LedgerHost:
    """The machine that has the ledger of a task on its disk, as the task state store remembers it.

    :param folder: folder of the ledger, on a local disk.
    :param context: context of the running task. Before Airflow 3.3 it has no task state store, and
        nothing is remembered.
    """

    def __init__(self, folder: str, context: Mapping[str, Any]) -> None:
        self._folder = folder
        self._state = context.get("task_state_store")
        self._try_number = getattr(context["ti"], "try_number", None) or 1
        self.clear_id = clear_id_of(context)

    def find_lost_ledger(self) -> LostLedger | None:
        """Find a ledger of earlier tries on another machine, if this machine has no record.

        :return: that ledger; ``None`` if there is none, or if Airflow cannot say.
        """
        if self._state is None:
            self._warn_of_other_machines()
            return None
        try:
            stored = self._state.get(LEDGER_HOST_KEY)
        except Exception as error:
            log.warning("The machine of earlier tries could not be read (%s)", type(error).__name__)
            return None
        if not isinstance(stored, dict):
            return None
        host, clear_id = str(stored.get("host")), str(stored.get("clear_id"))
        if host == socket.gethostname() or not _HOST.fullmatch(host):
            return None
        return LostLedger(self._folder, host, clear_id)

    def remember(self) -> None:
        """Remember that this machine has the ledger, before a submit."""
        if self._state is None:
            return
        value = {"host": socket.gethostname(), "clear_id": self.clear_id}
        try:
            self._state.set(LEDGER_HOST_KEY, value, retention=_RETENTION)
        except Exception as error:  # only a retry on another machine needs it
            log.warning("The machine of this try could not be stored (%s)", type(error).__name__)

    def forget(self) -> None:
        """Forget the machine, because no submit of it was billed."""
        if self._state is None:
            return
        try:
            self._state.delete(LEDGER_HOST_KEY)
        except Exception as error:
            log.warning("The machine of this try could not be removed (%s)", type(error).__name__)

    def _warn_of_other_machines(self) -> None:
        if self._try_number > 1:
            log.warning(
                "This is try %s, and %s on the machine %s has no record of an earlier try. If an "
                "earlier try submitted on another machine, this try pays again. %s",
                self._try_number,
                self._folder,
                socket.gethostname(),
                _REMEDY,
            )


class HostedRecordStore:
    """Records on the disk of this machine. The task state store remembers which machine it is.

    :param records: the records.
    :param host: the machine.
    """

    def __init__(self, records: TaskRecordStore, host: LedgerHost) -> None:
        self._records = records
        self._host = host

    def location(self, number: int) -> str:
        """Return the location of a record, for a message.

        :param number: number of the record.
        """
        return self._records.location(number)

    def uri(self, number: int) -> str | None:
        """Return the URI of a record.

        :param number: number of the record.
        """
        return self._records.uri(number)

    def read(self, number: int) -> Record | None:
        """Return a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxLedgerError: if the record exists and cannot be read.
        :raises FluxStorageError: if the store fails.
        """
        return self._records.read(number)

    def read_answer(self, number: int) -> DeliveredAnswer | None:
        """Return the answer that a webhook delivered for a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxStorageError: if the store fails.
        """
        return self._records.read_answer(number)

    def create(self, number: int, record: Record) -> None:
        """Claim a number with a new record.

        :param number: the number to claim.
        :param record: the new record.
        :raises FluxLedgerError: if another process has claimed the number.
        :raises FluxStorageError: if it cannot be written.
        """
        self._records.create(number, record)
        self._host.remember()

    def update(self, number: int, record: Record) -> None:
        """Replace a record.

        :param number: number of the record.
        :param record: its new content.
        :raises FluxStorageError: if it cannot be written.
        """
        self._records.update(number, record)
        if record.phase == "failed":
            self._host.forget()
        elif record.phase == "intent":
            self._host.remember()


def open_ledger_host(context: Mapping[str, Any], folder: str | None) -> LedgerHost | None:
    """Return the machine of a ledger; ``None`` if the ledger is not on a local disk.

    :param context: context of the running task.
    :param folder: folder of the ledger; ``None`` if it is not in files.
    """
    is_local = folder is not None and folder.startswith(("/", "file:", "local:"))
    return LedgerHost(folder, context) if folder is not None and is_local else None
