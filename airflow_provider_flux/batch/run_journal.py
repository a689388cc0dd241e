"""The journal of one run: where it is, what earlier tries wrote to it, and who writes to it now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.batch.lost_journal import check_lost_journal
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_policy import RowPolicies
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_setup import resume_earlier_tries
from airflow_provider_flux.batch.settings import BatchSettings
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.ledger.clear_id import clear_id_of
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, phase_entry
from airflow_provider_flux.ledger.journal_segments import JOURNAL_SUFFIX
from airflow_provider_flux.ledger.ledger_host import LedgerHost
from airflow_provider_flux.ledger.record_files import record_write_options, stem_of
from airflow_provider_flux.object_store.backends import WriteOptions


@dataclass(frozen=True)
class RunJournal:
    """The journal of a batch in one try, before the try writes to it.

    :param folder: URI of the folder of the journal.
    :param header: header of the segments of this try.
    :param write_options: how objects are written to the journal.
    :param policies: choices of the user.
    :param host: the machine of the ledger; ``None`` if the ledger is not on a local disk.
    """

    folder: str
    header: SegmentHeader
    write_options: WriteOptions
    policies: RowPolicies
    host: LedgerHost | None

    def open(self, store: RowStore, counters: Counters) -> Journal:
        """Claim the journal, plan the rows by it, and return the writer of this try.

        :param store: store with the rows of the input.
        :param counters: counters of this try. The credits of earlier tries are added.
        :raises FluxSubmitUncertainError: if the journal is on another machine.
        :raises FluxLedgerError: if a part of the journal is missing or cannot be read.
        :raises FluxStorageError: if the store of the journal does not answer.
        """
        header = self.read(store, counters, is_read_only=False)
        returned = [
            phase_entry(submit.claim, submit.key, "returned")
            for submit in store.history.find_recovered()
        ]
        return Journal(self.folder, header, self.write_options, returned)

    def read(
        self, store: RowStore, counters: Counters, *, is_read_only: bool = True
    ) -> SegmentHeader:
        """Plan the rows by their earlier submits.

        :param store: store with the rows of the input.
        :param counters: counters of this try. The credits of earlier tries are added.
        :param is_read_only: whether to plan the rows without a claim, ``True`` by default.
        :return: the header with the sessions before this one.
        :raises FluxSubmitUncertainError: if the journal is on another machine.
        :raises FluxLedgerError: if a part of the journal is missing or cannot be read.
        :raises FluxStorageError: if the store of the journal does not answer.
        """
        check_lost_journal(self.host, self.folder, self.policies)
        return resume_earlier_tries(
            store,
            counters,
            folder=self.folder,
            header=self.header,
            write_options=self.write_options,
            policies=self.policies,
            is_read_only=is_read_only,
        )


def find_journal(
    context: Mapping[str, Any],
    settings: BatchSettings,
    plan: LandingPlan,
    flux_conn_id: str,
    host: LedgerHost | None,
) -> RunJournal:
    """Return the journal of a batch, without reading it.

    :param context: context of the task.
    :param settings: settings of the batch.
    :param plan: landing plan of the batch, with its task.
    :param flux_conn_id: id of the connection to BFL.
    :param host: the machine of the ledger; ``None`` if the ledger is not on a local disk.
    """
    header = SegmentHeader(
        owner=plan.task,
        clear_id=clear_id_of(context),
        flux_conn_id=flux_conn_id,
        target=plan.target,
    )
    return RunJournal(
        folder=f"{stem_of(settings.ledger, plan.task)}{JOURNAL_SUFFIX}",
        header=header,
        write_options=record_write_options(settings.ledger, plan.target),
        policies=settings.policies,
        host=host,
    )
