"""What comes before the first submit of a batch: the rows, what earlier tries have done about them, and the money."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from airflow_provider_flux.batch.execution.prepare import Preparer, kind_of
from airflow_provider_flux.batch.input.rows import Row, describe_problems
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_policy import RowPolicies, cost_of, plan_row
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
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import tells_apart
from airflow_provider_flux.ledger.journal import (
    OWNER_CHECK_SECONDS,
    claim_journal,
    read_journal,
    read_owner,
)
from airflow_provider_flux.ledger.journal_entries import JournaledSubmit, SegmentHeader
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync

log = logging.getLogger(__name__)

#: Images that are abandoned, and told one by one.
_TOLD = 20


def fill(
    table: RowStore, rows: Iterator[Row], preparer: Preparer, policies: RowPolicies
) -> tuple[int, int]:
    """Put the rows of the input into the table, and return how many there are, and how many are not valid.

    :raises FluxRequestError: if some are not valid, and ``on_invalid_row`` is ``fail``; naming all of them.
    """
    count = invalid = 0
    names = _Names(preparer.plan.target.path)
    for row in rows:
        count += 1
        request = row.request
        if request and (problem := names.find_problem(request, row.index)):
            row, request = replace(row, request=None, fallback=None, problem=problem), None
        if request:
            table.add(
                row,
                kind=kind_of(request.catalog_model, row.model),
                estimate=estimate_cost(request).credits,
            )
        else:
            invalid += 1
            table.add(row, kind=row.model, estimate=None)
    table.commit()
    if invalid:
        with RowReader(table.path) as reader:
            said = describe_problems(reader.invalid())
        if policies.on_invalid_row == "fail":
            raise FluxRequestError(
                f"Nothing was submitted. {said}\nMend the rows, or pass them over with on_invalid_row='skip'."
            )
        log.warning("%s\nThey are passed over (on_invalid_row='skip').", said)
    return count, invalid


class _Names:
    """Finds equal rows where images are named by their fingerprint alone: each, paid for, would replace the other.

    :param path: ``output_path``.
    """

    def __init__(self, path: str) -> None:
        self._is_needed = not tells_apart(path)
        self._seen: dict[bytes, int] = {}

    def find_problem(self, request: GenerationRequest, index: int) -> str | None:
        """Return what is wrong with the name of a row."""
        if not self._is_needed:
            return None
        first = self._seen.setdefault(bytes.fromhex(request.fingerprint), index)
        if first == index:
            return None
        return f"is the same request as row {first}, and would get the same name: add {{key}} to output_path"


def look_back(
    table: RowStore,
    tally: Counters,
    preparer: Preparer,
    *,
    folder: str,
    header: SegmentHeader,
    manner: WriteOptions,
    policies: RowPolicies,
) -> None:
    """Make this try the one that may submit, and plan each row by what earlier tries have submitted.

    :raises FluxLedgerError: if that cannot be read.
    :raises FluxStorageError: if it cannot be told what there is.
    """
    before = run_sync(read_owner(folder))
    claim_journal(folder, header, manner)
    closed = {
        found.session: found.is_closed for found, _ in read_journal(folder)
    }  # that of its last segment counts
    if not all(closed.values()) or (before and before not in closed):
        time.sleep(
            OWNER_CHECK_SECONDS
        )  # a try that was taken for dead may be about to submit; it looks before it does
    for found, notes in read_journal(folder):
        table.remember(found, notes)
    if table.index_history():
        abandoned = table.open_orphans()
        with RowReader(table.path) as reader:
            for row in reader.to_do(preparer.build):
                abandoned += _plan(table, tally, row, header.clear_id, policies)
        table.commit()
        _tell_abandoned(abandoned)
        done = [f"{count} {name}" for name, count in tally.outcomes.items() if count]
        log.info("Earlier tries: %s", ", ".join(done) or "nothing that has ended")


def _tell_abandoned(submits: Sequence[JournaledSubmit]) -> None:
    if not submits:
        return
    named = [f"{one.key}: {(one.generation or {}).get('request_id')}" for one in submits[:_TOLD]]
    named += [f"... and {len(submits) - _TOLD} more"] if len(submits) > _TOLD else []
    log.warning(
        "%d images (%g credits) were paid for by earlier tries, have not landed, and are not collected, since their "
        "rows have changed, are gone, or are paid anew: `airflow flux recover` lands them (%s)",
        len(submits),
        sum(map(cost_of, submits)),
        ", ".join(named),
    )


def _plan(
    table: RowStore,
    tally: Counters,
    row: Row,
    clear_id: str,
    policies: RowPolicies,
) -> tuple[JournaledSubmit, ...]:
    """Plan a row, and return what was paid for it and is not collected."""
    history = table.history(row.key)
    if not history or row.request is None:
        return ()
    wanted, other = row.request.fingerprint, row.fallback
    fallback = other.fingerprint if other else None
    plan = plan_row(history, wanted=wanted, fallback=fallback, clear_id=clear_id, policies=policies)
    table.plan(row.index, plan)
    if other and plan.is_fallback:
        table.reprice(
            row.index,
            kind=kind_of(other.catalog_model, other.model),
            estimate=estimate_cost(other).credits,
        )
    tally.charge(plan.spent - plan.reported, is_reported=False)
    tally.charge(plan.reported, is_reported=True)
    tally.add_waste(plan.wasted)
    tally.uncertain_submits += plan.uncertain
    if plan.outcome is not None:
        tally.outcomes[plan.outcome] += 1
    return plan.abandoned


def check_budget(hook: FluxHook, tally: Counters, expected: float, unknown: int) -> None:
    """Refuse at once what cannot be paid. Reading the balance is free.

    :param expected: credits that the rows to submit are expected to cost.
    :param unknown: rows of which that is not known.
    :raises FluxBudgetError: if ``max_cost`` does not allow for it.
    :raises FluxInsufficientCreditsError: if the account has not so much.
    """
    more = f", and {unknown} rows whose price is not known before" if unknown else ""
    said = f"The rows to submit are expected to cost {expected:g} credits (${expected * USD_PER_CREDIT:.2f}){more}"
    log.info("%s. Spent by earlier tries: %g credits", said, tally.spent)
    if not tally.can_afford(expected):
        raise FluxBudgetError(
            f"{said}, and {tally.spent:g} credits were spent by earlier tries, more than max_cost={tally.max_cost:g}. "
            "Nothing was submitted. Raise max_cost, or give fewer rows."
        )
    if not expected:
        return
    try:
        balance = hook.get_credits()
    except FluxAuthenticationError:
        raise
    except FluxError as error:
        log.warning("The balance of the account could not be read. %s", error)
        return
    if balance < expected:
        raise FluxInsufficientCreditsError(
            f"{said}, and the account has {balance:g}. Nothing was submitted. Add credits, or give fewer rows."
        )
