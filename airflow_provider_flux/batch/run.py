"""One try of a batch: read the rows, look back at earlier tries, check the money, work, and keep the manifest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.batch.engine import Engine
from airflow_provider_flux.batch.planning import RowPolicies, plan_row
from airflow_provider_flux.batch.preparing import Preparer, kind_of
from airflow_provider_flux.batch.reader import Reader
from airflow_provider_flux.batch.rows import Row, describe_problems
from airflow_provider_flux.batch.table import Table
from airflow_provider_flux.batch.tally import Tally
from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.generation import estimate_cost
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.ledger.journal import FENCE_SECONDS, read_journal, take_over
from airflow_provider_flux.ledger.notes import Header
from airflow_provider_flux.storage.dialects import Manner

log = logging.getLogger(__name__)

_TICK = 1.0
#: Seconds beyond the grace in which the engine ends what it has begun.
_ENDING = 30.0


def fill(table: Table, rows: Iterator[Row], preparer: Preparer, policies: RowPolicies) -> int:
    """Put the rows of the input into the table, and return how many there are.

    :raises FluxRequestError: if some are not valid, and ``on_invalid_row`` is ``fail``; naming all of them.
    """
    count = invalid = 0
    for row in rows:
        count += 1
        if row.problem is None:
            request = preparer.build(row.model, row.parameters)
            table.add(row, kind=kind_of(request.entry, row.model), estimate=estimate_cost(request).credits)
        else:
            invalid += 1
            table.add(row, kind=row.model, estimate=None)
    table.commit()
    if invalid:
        with Reader(table.path) as reader:
            said = describe_problems(reader.invalid())
        if policies.on_invalid_row == "fail":
            raise FluxRequestError(
                f"Nothing was submitted. {said}\nMend the rows, or pass them over with on_invalid_row='skip'."
            )
        log.warning("%s\nThey are passed over (on_invalid_row='skip').", said)
    return count


def look_back(
    table: Table,
    tally: Tally,
    preparer: Preparer,
    *,
    folder: str,
    header: Header,
    manner: Manner,
    policies: RowPolicies,
) -> None:
    """Make this try the one that may submit, and plan each row by what earlier tries have submitted.

    :raises FluxLedgerError: if that cannot be read.
    :raises FluxStorageError: if it cannot be told what there is.
    """
    sessions: dict[str, bool] = {}
    take_over(folder, header, manner)
    for found, _ in read_journal(folder):
        sessions[found.session] = sessions.get(found.session, False) or found.is_closed
    if not all(sessions.values()):
        time.sleep(FENCE_SECONDS)  # a try that was taken for dead may be about to submit; it looks before it does
    for found, notes in read_journal(folder) if sessions else ():
        table.remember(found, notes)
    if table.index_history():
        with Reader(table.path) as reader:
            for row in reader.to_do():
                _plan(table, tally, preparer, row, header.round, policies)
        table.commit()
        if strangers := table.open_strangers():
            log.warning(
                "%d images were paid for by earlier tries for rows that are not in the input any more, and have not "
                "landed: `airflow flux recover` lands them",
                strangers,
            )
        log.info(
            "Earlier tries: %s", ", ".join(f"{count} {name}" for name, count in tally.outcomes.items()) or "nothing"
        )


def _plan(table: Table, tally: Tally, preparer: Preparer, row: Row, round: str, policies: RowPolicies) -> None:
    history = table.history(row.key)
    if not history:
        return
    wanted = preparer.build(row.model, row.parameters).fingerprint
    fallback = preparer.build(*row.fallback).fingerprint if row.fallback else None
    plan = plan_row(history, wanted=wanted, fallback=fallback, round=round, policies=policies)
    table.plan(row.index, plan)
    tally.charge(plan.spent - plan.reported, is_reported=False)
    tally.charge(plan.reported, is_reported=True)
    tally.lose(plan.wasted)
    tally.uncertain_submits += plan.uncertain
    if plan.outcome is not None:
        tally.outcomes[plan.outcome] += 1


def check_budget(hook: FluxHook, tally: Tally, expected: float, unknown: int) -> None:
    """Refuse at once what cannot be paid. Reading the balance is free.

    :param expected: credits that the rows to submit are expected to cost.
    :param unknown: rows of which that is not known.
    :raises FluxBudgetError: if ``max_cost`` does not allow for it.
    :raises FluxInsufficientCreditsError: if the account has not so much.
    """
    more = f", and {unknown} rows whose price is not known before" if unknown else ""
    said = f"The rows to submit are expected to cost {expected:g} credits (${expected * USD_PER_CREDIT:.2f}){more}"
    log.info("%s. Spent by earlier tries: %g credits", said, tally.spent)
    if not tally.fits(expected):
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


@dataclass
class Runner:
    """Runs an engine in a thread of its own, so that this one can be told to stop, and can say how far it is.

    :param tick: called about once a second.
    """

    engine: Engine
    tick: Callable[[float], Any]
    grace: float

    def run(self) -> None:
        """Return when the engine has ended. What breaks in, such as ``execution_timeout``, ends it first."""
        with ThreadPoolExecutor(1, thread_name_prefix="flux-batch") as pool:
            ended = pool.submit(asyncio.run, self.engine.run())
            try:
                while not self._has_ended(ended):
                    self.tick(time.monotonic())
            except BaseException:
                self.engine.stop(self.grace)
                with suppress(TimeoutError):  # it ends later; what broke in is what counts
                    ended.exception(self.grace + _ENDING)
                raise
            ended.result()

    def _has_ended(self, ended: Future[None]) -> bool:
        try:
            ended.exception(_TICK)
        except TimeoutError:
            return False
        return True
