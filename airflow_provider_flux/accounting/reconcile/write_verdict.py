"""Write what is proven of a submit whose answer was lost into its record."""

from __future__ import annotations

from airflow_provider_flux.accounting.reconcile.settle import Verdict
from airflow_provider_flux.bfl.errors import FluxError, FluxTaskNotFoundError
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.recovery import metadata_db

_NOT_CHARGED = (
    "The answer to this submit was lost. The balance of the account proves that BFL did not "
    "charge it."
)
_CHARGED = (
    "The answer to this submit was lost. The balance of the account proves that BFL charged it. "
    "Its request id is not known, so its image is lost."
)


def write_verdict(stored: StoredRecord, verdict: Verdict) -> bool:
    """Write a verdict into the record of a submit, unless its task is active.

    A submit that was not charged becomes ``failed``, so that the next try submits again. One that
    was charged stays an ``intent`` with a reason, so that no retry pays again by itself.

    :param stored: the record.
    :param verdict: what is proven.
    :return: whether the record was changed.
    :raises FluxError: if the record cannot be read or written.
    """
    if verdict == "uncertain" or metadata_db.has_active_task(stored.record.owner):
        return False
    stored.refresh()
    if not stored.record.is_uncertain or stored.record.error is not None:
        return False
    if verdict == "not charged":
        stored.write("failed", error=FluxError(_NOT_CHARGED))
    else:
        stored.write("intent", error=FluxTaskNotFoundError(_CHARGED))
    return True
