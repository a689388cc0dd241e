"""The setup of a batch before its first submit: rows, earlier tries, the previous manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from airflow_provider_flux.batch.costs import cost_of
from airflow_provider_flux.batch.input.row_names import RowNames
from airflow_provider_flux.batch.input.row_warnings import RowWarnings
from airflow_provider_flux.batch.input.rows import Row, describe_problems
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_policy import (
    RowPlan,
    RowPolicies,
    plan_gone_row,
    plan_row,
)
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError
from airflow_provider_flux.gallery.manifest_cards import (
    UnreadableManifestError,
    read_manifest_rows,
)
from airflow_provider_flux.ledger.clear_id import COMMAND_CLEAR_ID
from airflow_provider_flux.ledger.journal_entries import SegmentHeader
from airflow_provider_flux.ledger.journal_owner import (
    OWNER_CHECK_SECONDS,
    claim_journal,
    read_owner,
)
from airflow_provider_flux.ledger.journal_segments import (
    describe_missing,
    inspect_journal,
    read_journal,
    sessions_in,
    without_orphans,
)
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync

log = logging.getLogger(__name__)

#: Abandoned submits that are logged with their key and request id.
_MAX_LOGGED_SUBMITS = 20


def load_rows(
    store: RowStore,
    rows: Iterator[Row],
    policies: RowPolicies,
    reserved: Collection[str] = (),
    observe: Callable[[Row], object] = lambda row: None,
) -> tuple[int, int]:
    """Store the rows of the input.

    :param store: an empty row store.
    :param rows: the rows of the input.
    :param policies: choices of the user. ``on_invalid_row`` decides about rows that are not valid.
    :param reserved: URIs of the manifest and of the folder of the journal, which no image may have.
    :param observe: called with each checked row; does nothing by default.
    :return: the number of rows, and the number of those that are not valid.
    :raises FluxRequestError: naming the rows that are not valid, with ``on_invalid_row="fail"``.
    """
    count = invalid = 0
    names = RowNames(store.builder.plan.target, reserved)
    warnings = RowWarnings()
    for row in rows:
        checked = names.check(row)
        warnings.add(checked)
        store.add(checked)
        observe(checked)
        count += 1
        invalid += checked.problem is not None
    store.commit()
    warnings.log()
    if invalid:
        _report_invalid_rows(store, policies)
    return count, invalid


def resume_earlier_tries(
    store: RowStore,
    counters: Counters,
    *,
    folder: str,
    header: SegmentHeader,
    write_options: WriteOptions,
    policies: RowPolicies,
    is_read_only: bool = False,
) -> SegmentHeader:
    """Claim the journal for this try, and plan each row by its submits in earlier tries.

    :param store: store with the rows of the input.
    :param counters: counters of this try. The credits of earlier tries are added.
    :param folder: URI of the folder of the journal.
    :param header: header of the segments of this try.
    :param write_options: how objects are written to the journal.
    :param policies: choices of the user.
    :param is_read_only: whether to plan the rows without a claim, ``False`` by default.
    :return: the header with the sessions before this one.
    :raises FluxLedgerError: if a part of the journal is missing or cannot be read.
    :raises FluxStorageError: if the store of the journal does not answer.
    """
    claim = partial(_claim_journal, write_options=None if is_read_only else write_options)
    header, is_complete, first_clear_id = claim(folder, header, policies)
    segments = read_journal(folder)
    if not is_complete:
        segments = without_orphans(read_journal(folder, clear_id=header.clear_id))
    for segment_header, entries in segments:
        if segment_header.clear_id == COMMAND_CLEAR_ID:  # a task goes on with it, or has gone on
            segment_header = segment_header.model_copy(update={"clear_id": first_clear_id})
        store.history.add_segment(segment_header, entries)
    if not store.history.create_index():
        return header
    abandoned: list[JournaledSubmit] = []
    for submits in store.history.gone_rows():
        plan = plan_gone_row(submits, clear_id=header.clear_id, policies=policies)
        counters.gone += plan.spent
        _count_plan(counters, plan)
        abandoned += plan.abandoned
    with RowReader(store.path) as reader:
        for row in reader.tried_rows(store.builder.restore):
            plan = _plan_row(store, row, header.clear_id, policies)
            store.apply_plan(row, plan)
            _count_plan(counters, plan)
            abandoned += plan.abandoned
    store.commit()
    _log_abandoned(abandoned)
    ended = [f"{count} {outcome}" for outcome, count in counters.outcomes.items() if count]
    log.info("Earlier tries: %s", ", ".join(ended) or "no row has ended")
    return header


def load_previous_rows(store: RowStore, manifest: str) -> bool:
    """Compare the rows of the input with those of the previous manifest.

    :param store: store with the rows of the input.
    :param manifest: URI of the manifest, whose store is open.
    :return: whether the manifest could be read, or there is none yet.
    :raises FluxStorageError: if the store does not answer. A retry may help.
    """
    is_readable = True
    try:
        store.previous.add(read_manifest_rows(manifest))
    except (UnreadableManifestError, FluxConfigurationError) as error:
        log.warning("New, changed and gone rows are not known exactly. %s", error)
        is_readable = False
    store.previous.match()
    return is_readable


def _report_invalid_rows(store: RowStore, policies: RowPolicies) -> None:
    with RowReader(store.path) as reader:
        problems = describe_problems(reader.invalid_rows())
    if policies.on_invalid_row == "fail":
        raise FluxRequestError(
            f"Nothing was submitted. {problems}\n"
            "Fix these rows, or skip them with on_invalid_row='skip'."
        )
    log.warning("%s\nThey are skipped (on_invalid_row='skip').", problems)


def _claim_journal(
    folder: str,
    header: SegmentHeader,
    policies: RowPolicies,
    *,
    write_options: WriteOptions | None,
) -> tuple[SegmentHeader, bool, str]:
    """Make this try the one that may submit, and wait if another one may be about to submit.

    A try that Airflow assumed to have ended may still work. It checks the owner before each submit,
    but not more often than every ``OWNER_CHECK_SECONDS``.

    :param write_options: how to write the claim; ``None`` to read the journal without a claim.
    :return: the header with the sessions before it, whether the journal is complete, and the clear
        id of the first try of a task, to which the sessions of commands before it belong.
    """
    # Checked before the claim, which replaces the name of the owner.
    owner = run_sync(read_owner(folder))
    check = inspect_journal(folder)
    clear_ids = check.clear_ids_of_tasks
    if clear_ids and header.clear_id == COMMAND_CLEAR_ID:  # a command goes on with a task
        header = header.model_copy(update={"clear_id": clear_ids[-1]})
    missing = check.missing_parts(owner)
    if missing:
        error = describe_missing(folder, missing)
        is_current = any(part.clear_id == header.clear_id for part in missing)
        if policies.on_clear != "new" or is_current:
            raise error
        log.warning("%s The task was cleared with on_clear='new', and goes on without it.", error)
    header = header.model_copy(update={"earlier": check.sessions})
    if write_options is not None:
        claim_journal(folder, header, write_options)
        known = {session.session for session in check.sessions} | {header.session}
        if missing or check.has_open_session or sessions_in(folder) - known:
            time.sleep(OWNER_CHECK_SECONDS)
    return header, not missing, clear_ids[0] if clear_ids else header.clear_id


def _plan_row(store: RowStore, row: Row, clear_id: str, policies: RowPolicies) -> RowPlan:
    assert row.request is not None  # noqa: S101 - an invalid row is never submitted
    return plan_row(
        store.history.submits_of(row.key),
        fingerprint=row.request.fingerprint,
        fallback=row.fallback.fingerprint if row.fallback else None,
        clear_id=clear_id,
        policies=policies,
    )


def _count_plan(counters: Counters, plan: RowPlan) -> None:
    counters.charge(plan.spent - plan.reported, is_reported=False)
    counters.charge(plan.reported, is_reported=True)
    counters.possible += plan.possible
    counters.add_waste(plan.wasted)
    counters.uncertain_submits += plan.uncertain
    if plan.outcome is not None:
        counters.outcomes[plan.outcome] += 1


def _log_abandoned(submits: Sequence[JournaledSubmit]) -> None:
    if not submits:
        return
    names = [
        f"{submit.key}: {(submit.generation or {}).get('request_id')}"
        for submit in submits[:_MAX_LOGGED_SUBMITS]
    ]
    if len(submits) > _MAX_LOGGED_SUBMITS:
        names.append(f"... and {len(submits) - _MAX_LOGGED_SUBMITS} more")
    log.warning(
        "%d images (%g credits) that earlier tries submitted have not landed and are not resumed: "
        "their rows changed, are gone, or are submitted again. `airflow flux recover` lands them "
        "(%s)",
        len(submits),
        sum(map(cost_of, submits)),
        ", ".join(names),
    )
