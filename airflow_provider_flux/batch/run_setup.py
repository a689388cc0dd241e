"""The setup of a batch before its first submit: rows, earlier tries, expected cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence

from airflow_provider_flux.batch.input.row_names import RowNames
from airflow_provider_flux.batch.input.rows import Row, describe_problems
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_policy import RowPlan, RowPolicies, cost_of, plan_row
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.ledger.journal_entries import SegmentHeader
from airflow_provider_flux.ledger.journal_owner import (
    OWNER_CHECK_SECONDS,
    claim_journal,
    read_owner,
)
from airflow_provider_flux.ledger.journal_segments import read_journal
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync

log = logging.getLogger(__name__)

#: Abandoned submits that are logged with their key and request id.
_MAX_LOGGED_SUBMITS = 20


def load_rows(
    store: RowStore, rows: Iterator[Row], policies: RowPolicies, reserved: Collection[str] = ()
) -> tuple[int, int]:
    """Store the rows of the input.

    :param store: an empty row store.
    :param rows: the rows of the input.
    :param policies: choices of the user. ``on_invalid_row`` decides about rows that are not valid.
    :param reserved: URIs of the manifest and of the folder of the journal, which no image may have.
    :return: the number of rows, and the number of those that are not valid.
    :raises FluxRequestError: naming the rows that are not valid, with ``on_invalid_row="fail"``.
    """
    count = invalid = 0
    names = RowNames(store.builder.plan.target, reserved)
    for row in rows:
        checked = names.check(row)
        store.add(checked)
        count += 1
        invalid += checked.problem is not None
    store.commit()
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
) -> None:
    """Claim the journal for this try, and plan each row by its submits in earlier tries.

    :param store: store with the rows of the input.
    :param counters: counters of this try. The credits of earlier tries are added.
    :param folder: URI of the folder of the journal.
    :param header: header of the segments of this try.
    :param write_options: how objects are written to the journal.
    :param policies: choices of the user.
    :raises FluxLedgerError: if a part of the journal is missing or cannot be read.
    :raises FluxStorageError: if the store of the journal does not answer.
    """
    _claim_journal(folder, header, write_options)
    for segment_header, entries in read_journal(folder):
        store.history.add_segment(segment_header, entries)
    if not store.history.create_index():
        return
    abandoned = store.history.find_orphans()
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


def check_budget(hook: FluxHook, counters: Counters, expected: float, unknown: int) -> None:
    """Refuse a batch whose rows to submit cost more than ``max_cost`` or the balance.

    Reading the balance is free.

    :param hook: hook of the connection.
    :param counters: counters of this try, with the credits of earlier tries.
    :param expected: expected cost of the rows to submit, in credits.
    :param unknown: the number of rows to submit whose cost is not known.
    :raises FluxBudgetError: if ``max_cost`` is too low.
    :raises FluxInsufficientCreditsError: if the balance of the account is too low.
    :raises FluxAuthenticationError: if BFL refuses the API key.
    """
    more = f", and {unknown} rows whose price is not known before" if unknown else ""
    usd = expected * USD_PER_CREDIT
    message = f"The rows to submit are expected to cost {expected:g} credits (${usd:.2f}){more}"
    log.info("%s. Earlier tries spent %g credits", message, counters.spent)
    if not counters.can_afford(expected):
        raise FluxBudgetError(
            f"{message}, and {counters.spent:g} credits were spent by earlier tries, more than "
            f"max_cost={counters.max_cost:g}. Nothing was submitted. Raise max_cost, or pass fewer "
            "rows."
        )
    if not expected:
        return
    try:
        balance = hook.get_conn().get_credits()
    except FluxAuthenticationError:
        raise
    except FluxError as error:
        log.warning("The balance of the account could not be read. %s", error)
        return
    if balance < expected:
        raise FluxInsufficientCreditsError(
            f"{message}, and the account has {balance:g}. Nothing was submitted. Add credits, or "
            "pass fewer rows."
        )


def _report_invalid_rows(store: RowStore, policies: RowPolicies) -> None:
    with RowReader(store.path) as reader:
        problems = describe_problems(reader.invalid_rows())
    if policies.on_invalid_row == "fail":
        raise FluxRequestError(
            f"Nothing was submitted. {problems}\n"
            "Fix these rows, or skip them with on_invalid_row='skip'."
        )
    log.warning("%s\nThey are skipped (on_invalid_row='skip').", problems)


def _claim_journal(folder: str, header: SegmentHeader, write_options: WriteOptions) -> None:
    """Make this try the one that may submit, and wait if another one may be about to submit.

    A try that Airflow assumed to have ended may still work. It checks the owner before each submit,
    but not more often than every ``OWNER_CHECK_SECONDS``.
    """
    earlier_owner = run_sync(read_owner(folder))
    claim_journal(folder, header, write_options)
    # The last segment of a session decides whether it is closed.
    closed = {segment.session: segment.is_closed for segment, _ in read_journal(folder)}
    has_unknown_owner = bool(earlier_owner) and earlier_owner not in closed
    if has_unknown_owner or not all(closed.values()):
        time.sleep(OWNER_CHECK_SECONDS)


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
