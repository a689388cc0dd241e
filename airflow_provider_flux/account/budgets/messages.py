"""Texts about budgets: the error of one that is used up, and rows for tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_flux.account.budgets.periods import Cap
from airflow_provider_flux.account.budgets.state import BudgetState
from airflow_provider_flux.bfl.errors import FluxBudgetError

#: Tasks that a message names.
_MAX_NAMED = 5


def describe_time(epoch: float) -> str:
    """Return a time in UTC, to the minute.

    :param epoch: epoch seconds.
    """
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M UTC")


def describe_spenders(state: BudgetState, key: str) -> str:
    """Return the tasks that spent most in a period, each with its credits.

    :param state: the shared object.
    :param key: the counter.
    """
    spenders = [item for item in state.spenders_of(key) if item[1] > 0][:_MAX_NAMED]
    return ", ".join(f"{name} {credits_:g}" for name, credits_ in spenders) or "nobody yet"


def budget_error(
    state: BudgetState,
    cap: Cap,
    holder: str,
    price: float,
    source: str,
    *,
    subject: str = "this submit",
) -> FluxBudgetError:
    """Return the error of a budget with too little left.

    :param state: the shared object.
    :param cap: the budget.
    :param holder: the holder that asked.
    :param price: expected credits of what did not fit.
    :param source: the connection, for example ``connection 'flux_default'``.
    :param subject: what did not fit.
    """
    own = state.blocks.get(holder)
    own_credits = own.reserved if own and cap.key in own.counters else 0.0
    others = state.reserved(cap.key, without=holder)
    parts = [f"{state.spent(cap.key):g} are spent"]
    if own_credits:
        parts.append(f"{own_credits:g} are reserved for submits of this task")
    if others:
        parts.append(f"{others:g} are reserved by other tasks")
    resets = describe_time(cap.ends)
    return FluxBudgetError(
        f"The budget of {cap.rule} has too little left for {subject}, expected to cost "
        f"{price:g}: {', '.join(parts)}. Most was spent by: "
        f"{describe_spenders(state, cap.key)}. It resets at {resets}. Clear the task after that, "
        f"or raise 'budgets' of {source}.",
        resets_at=cap.ends,
    )


def build_rows(state: BudgetState, caps: Sequence[Cap]) -> list[dict[str, Any]]:
    """Return one flat row for each budget, for tables and JSON.

    :param state: the shared object.
    :param caps: the budgets.
    """
    return [
        {
            "budget": cap.rule,
            "counter": cap.key.rpartition("|")[2],
            "spent": round(state.spent(cap.key), 4),
            "reserved": round(state.reserved(cap.key), 4),
            "left": round(max(0.0, state.left(cap)), 4),
            "resets": describe_time(cap.ends),
            "spenders": describe_spenders(state, cap.key),
        }
        for cap in caps
    ]
