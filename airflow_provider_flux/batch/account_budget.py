"""The budgets of the account before the first submit of a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.account.budgets.account_budgets import (
    ledger_id,
    open_budgets,
)
from airflow_provider_flux.account.budgets.messages import budget_error
from airflow_provider_flux.account.budgets.periods import spender_of
from airflow_provider_flux.account.prices import counted_credits, expected_price
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets
from airflow_provider_flux.batch.history_store import HistoryStore
from airflow_provider_flux.batch.plan import BudgetPlan
from airflow_provider_flux.batch.survey import ROUNDING_ERROR
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.ledger.journal_entries import SegmentHeader
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit
from airflow_provider_flux.object_store.filesystem import run_sync


def open_batch_budgets(
    hook: FluxHook,
    context: Any,
    folder: str,
    header: SegmentHeader,
    *,
    is_read_only: bool = False,
) -> BatchBudgets | None:
    """Open the budgets that limit a batch.

    :param hook: hook of the connection.
    :param context: context of the task, with the tags of its DAG.
    :param folder: URI of the folder of the journal.
    :param header: header of the segments of this try.
    :param is_read_only: whether nothing is written, which is ``False`` by default.
    :return: ``None`` if no budget limits it.
    :raises FluxConfigurationError: if ``account_path`` cannot be used.
    :raises FluxStorageError: if its store does not answer.
    """
    spender = spender_of(header.owner.dag_id, header.owner.task_id, context)
    source = f"connection {hook.flux_conn_id!r}"
    account = open_budgets(hook.settings, spender, source, is_read_only=is_read_only)
    if account is None:
        return None
    return BatchBudgets(account, ledger_id(folder), header.session)


def settle_earlier_tries(budgets: BatchBudgets, history: HistoryStore) -> None:
    """Settle the reserved credits of dead tries by the journal, which has all their submits.

    :param budgets: the budgets of this try, which has claimed the journal.
    :param history: the journal.
    :raises FluxStorageError: if the shared object cannot be changed.
    """

    def read_totals(dead: frozenset[str], factors: Mapping[str, float]) -> dict[str, float]:
        totals: dict[str, float] = defaultdict(float)
        for submit in history.all_submits():
            if submit.header.session in dead:
                totals[submit.header.session] += counted_credits_of(submit, factors)
        return totals

    work = budgets.account.settle_dead(budgets.ledger, budgets.holder, read_totals)
    run_sync(work)


def counted_credits_of(submit: JournaledSubmit, factors: Mapping[str, float]) -> float:
    """Return the credits that a submit of a try counts in the budgets of the account.

    A refund, for example after moderation, does not lower them: whichever try found it out has
    written it.

    :param submit: one submit of a row.
    :param factors: how much more than estimated BFL bills for each model. They count if the answer
        is not known.
    """
    if submit.phase == "intent":
        price = expected_price(submit.facts.model, submit.facts.estimated_cost)
        return price * factors.get(submit.facts.model, 1.0)
    generation = submit.generation
    if generation is None:
        return 0.0
    counted = counted_credits({**generation, "model": submit.facts.model})
    if generation.get("video"):  # it was counted at its estimate, and corrected with the result
        return max(counted, read_amount(generation.get("estimated_cost")) or 0.0)
    return counted


def check_account_budget(budgets: BatchBudgets, expected: float) -> None:
    """Refuse a batch whose rows cost more than a budget of the account has left.

    Credits that other tasks have reserved may come back, so they do not count.

    :param budgets: the budgets of this try.
    :param expected: expected cost of the rows to submit.
    :raises FluxBudgetError: if the rows cost more.
    :raises FluxStorageError: if the shared object cannot be read.
    """
    left, state, cap = run_sync(budgets.account.find_left())
    if cap is None or not expected or expected <= left + ROUNDING_ERROR:
        return
    raise budget_error(
        state, cap, budgets.holder, expected, budgets.account.source, subject="the rows to submit"
    )


def find_account_left(budgets: BatchBudgets) -> tuple[str, float]:
    """Return the name and the credits of the tightest budget of the account.

    :param budgets: the budgets of this try.
    :raises FluxStorageError: if the shared object cannot be read.
    """
    left, _, cap = run_sync(budgets.account.find_left())
    return (f"the account's budget of {cap.rule}" if cap else "the account"), left


def find_budget_plans(budgets: BatchBudgets | None) -> tuple[BudgetPlan, ...]:
    """Return the budgets of the account that limit a batch, for its plan.

    :param budgets: the budgets; ``None`` if there are none.
    :raises FluxStorageError: if the shared object cannot be read.
    """
    if budgets is None:
        return ()
    names = ("budget", "spent", "reserved", "left", "resets")
    rows = run_sync(budgets.account.list_rows())
    return tuple(BudgetPlan(**{name: row[name] for name in names}) for row in rows)
