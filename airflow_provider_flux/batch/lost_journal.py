"""The decision of a batch whose journal is on the disk of another machine."""

from __future__ import annotations

import logging

from airflow_provider_flux.batch.row_policy import RowPolicies
from airflow_provider_flux.bfl.errors import FluxSubmitUncertainError
from airflow_provider_flux.ledger.journal_segments import sessions_in
from airflow_provider_flux.ledger.ledger_host import LedgerHost
from airflow_provider_flux.ledger.resume_policy import ResumePolicy, decide_without_records

log = logging.getLogger(__name__)


def check_lost_journal(host: LedgerHost | None, folder: str, policies: RowPolicies) -> None:
    """Refuse to submit all rows again if an earlier try has its journal on another machine.

    :param host: the machine of the ledger; ``None`` if the ledger is not on a local disk.
    :param folder: URI of the folder of the journal.
    :param policies: choices of the user.
    :raises FluxSubmitUncertainError: with ``on_uncertain="fail"``, unless a user cleared the task.
    """
    if host is None or sessions_in(folder):
        return
    lost = host.find_lost_ledger()
    choices = ResumePolicy(
        on_uncertain=policies.on_uncertain, on_clear="new" if policies.on_clear == "new" else "keep"
    )
    decision = decide_without_records(lost, clear_id=host.clear_id, policies=choices)
    if decision.action == "fail_uncertain":
        raise FluxSubmitUncertainError(
            f"{decision.warning} Nothing is submitted (on_uncertain='fail'). Clear the task to "
            "submit all rows."
        )
    if decision.warning:
        log.warning("%s This try submits all rows.", decision.warning)
