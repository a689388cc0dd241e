"""The submits of a task in earlier tries, and the decision by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_flux.ledger.clear_id import COMMAND_CLEAR_ID
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.resume_policy import (
    Decision,
    ResumePolicy,
    decide,
    decide_without_records,
)
from airflow_provider_flux.ledger.task_ledger import TaskLedger


@dataclass
class EarlierTries:
    """The submits of a task in earlier tries, by its ledger.

    :param records: their records, the oldest first; none by default.
    """

    records: Sequence[StoredRecord] = ()
    _has_lost_ledger: bool = False

    @property
    def last(self) -> StoredRecord | None:
        """The last record; ``None`` if there is none."""
        return self.records[-1] if self.records else None

    @property
    def latest(self) -> StoredRecord | None:
        """The last record that was not refused. A refused one changes nothing."""
        for stored in reversed(self.records):
            if not stored.record.is_refused:
                return stored
        return None

    @property
    def uncertain_submits(self) -> int:
        """The number of submits whose answer is not known."""
        return sum(stored.record.is_uncertain for stored in self.records) + self._has_lost_ledger

    @property
    def can_resume(self) -> bool:
        """Whether one of them submitted a generation that this try can resume or return."""
        latest = self.latest
        return latest is not None and (latest.record.is_in_flight or latest.record.has_landed)

    def decide(
        self, ledger: TaskLedger, fingerprint: str | None, policies: ResumePolicy
    ) -> Decision:
        """Return the decision by the last record, or by the lack of one.

        :param ledger: the ledger of the task.
        :param fingerprint: fingerprint of the request; ``None`` if it is not known.
        :param policies: the answers of the user where there is a choice.
        """
        clear_id, latest = ledger.clear_id, self.latest
        if latest is not None:
            return decide(
                latest.record, fingerprint=fingerprint, clear_id=clear_id, policies=policies
            )
        lost = None if self.records else ledger.find_lost_ledger()
        self._has_lost_ledger = lost is not None and lost.clear_id == clear_id
        return decide_without_records(lost, clear_id=clear_id, policies=policies)


def read_earlier_tries(ledger: TaskLedger) -> EarlierTries:
    """Read the records of earlier tries, and resolve answers that a webhook brought.

    :param ledger: the ledger of the task.
    :raises FluxLedgerError: if a record cannot be read.
    :raises FluxStorageError: if the store fails.
    """
    earlier = EarlierTries(ledger.read_records())
    for stored in earlier.records:
        stored.resolve_lost_answer(is_written=True)
    _join_clears(ledger, earlier.latest)
    return earlier


def _join_clears(ledger: TaskLedger, latest: StoredRecord | None) -> None:
    """Let a command and the task that has the same ledger be tries of one clear."""
    if latest is None or latest.record.clear_id == ledger.clear_id:
        return
    if ledger.clear_id == COMMAND_CLEAR_ID:
        ledger.clear_id = latest.record.clear_id
    elif latest.record.clear_id == COMMAND_CLEAR_ID:
        latest.set_clear_id(ledger.clear_id)
