"""The budget of a batch before its first submit: ``max_cost`` and the balance of the account."""

from __future__ import annotations

import logging

from airflow_provider_flux.batch.account_budget import check_account_budget, find_account_left
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.survey import find_first_beyond
from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
)
from airflow_provider_flux.bfl.pricing import describe_credits
from airflow_provider_flux.hooks.flux import FluxHook

log = logging.getLogger(__name__)

#: Models that the log lists with their rows and credits.
_MAX_LISTED_MODELS = 10
#: Rows without a known price that an error names.
_MAX_LOGGED_ROWS = 20
#: Reason in the manifest of a row that did not fit.
TRIMMED = (
    "Not submitted: the rows before it use up max_cost, a budget or the balance (on_budget='trim')."
)


def check_budget(
    hook: FluxHook,
    counters: Counters,
    reader: RowReader,
    account: BatchBudgets | None = None,
) -> None:
    """Refuse a batch whose rows cost more than ``max_cost``, a budget or the balance.

    Reading the balance is free.

    :param hook: hook of the connection.
    :param counters: counters of this try, with the credits of earlier tries.
    :param reader: reader of the rows.
    :param account: budgets of the account; ``None`` (default) if none limits the batch.
    :raises FluxBudgetError: if ``max_cost`` or a budget is too low, or if ``max_cost`` cannot hold
        because the price of a row is not known.
    :raises FluxInsufficientCreditsError: if the balance of the account is too low.
    :raises FluxAuthenticationError: if BFL refuses the API key.
    """
    expected, message = _log_expected(counters, reader)
    if not counters.can_afford(expected):
        raise FluxBudgetError(
            f"{message}, and {counters.describe_spent()} were spent by earlier tries, more than "
            f"max_cost={counters.max_cost:g}. Nothing was submitted. Raise max_cost, or pass fewer "
            "rows."
        )
    if counters.max_cost is not None:
        _check_prices(reader, counters.max_cost)
    if account is not None:
        check_account_budget(account, expected)
    if not expected:
        return
    balance = _note_balance(hook, counters)
    if balance is not None and balance < expected:
        raise FluxInsufficientCreditsError(
            f"{message}, and the account has {balance:g}. Nothing was submitted. Add credits, or "
            "pass fewer rows."
        )


def find_trim(
    hook: FluxHook,
    counters: Counters,
    reader: RowReader,
    account: BatchBudgets | None = None,
) -> int | None:
    """Find the first row that does not fit into ``max_cost``, the budgets and the balance.

    It and all rows behind it are not submitted. Reading the balance is free.

    :param hook: hook of the connection.
    :param counters: counters of this try, with the credits of earlier tries.
    :param reader: reader of the rows.
    :param account: budgets of the account; ``None`` (default) if none limits the batch.
    :return: index of the row; ``None`` if all rows fit.
    :raises FluxBudgetError: if ``max_cost`` cannot hold because the price of a row is not known.
    :raises FluxAuthenticationError: if BFL refuses the API key.
    """
    expected, message = _log_expected(counters, reader)
    budgets = []
    if counters.max_cost is not None:
        _check_prices(reader, counters.max_cost)
        budgets.append(("max_cost", counters.max_cost - counters.spent))
    if account is not None:
        budgets.append(find_account_left(account))
    balance = _note_balance(hook, counters) if expected else None
    if balance is not None:
        budgets.append(("the balance", balance))
    if not budgets:
        return None
    name, budget = min(budgets, key=lambda item: item[1])
    first = find_first_beyond(reader.prices(), budget)
    if first is not None:
        log.warning(
            "%s, and %s has %g credits left. The rows from index %d on stay pending "
            "(on_budget='trim')",
            message,
            name,
            max(budget, 0.0),
            first,
        )
    return first


def _note_balance(hook: FluxHook, counters: Counters) -> float | None:
    """Read the balance, and remember it for rows that are submitted again."""
    balance = read_balance(hook)
    if balance is not None:
        counters.balance, counters.spent_before = balance, counters.spent
    return balance


def read_balance(hook: FluxHook) -> float | None:
    """Read the balance of the account, which is free.

    :param hook: hook of the connection.
    :return: credits; ``None`` if the balance cannot be read, which is logged.
    :raises FluxAuthenticationError: if BFL refuses the API key.
    """
    try:
        return hook.get_conn().get_credits()
    except FluxAuthenticationError:
        raise
    except FluxError as error:
        log.warning("The balance of the account could not be read. %s", error)
        return None


def _log_expected(counters: Counters, reader: RowReader) -> tuple[float, str]:
    """Log the expected cost, and return it with the beginning of a message."""
    expected, unknown = reader.expected_cost()
    more = f", and {unknown} rows whose price is not known before" if unknown else ""
    message = f"The rows to submit are expected to cost {describe_credits(expected)}{more}"
    log.info("%s. Earlier tries spent %s", message, counters.describe_spent())
    _log_models(reader)
    return expected, message


def _log_models(reader: RowReader) -> None:
    """Log the cost of each model, because a row may name a dearer one than the task."""
    models = reader.expected_by_model()
    if len(models) < 2:
        return
    shown = [
        f"{model}: {count} {'row' if count == 1 else 'rows'}, {cost:g} credits"
        for model, count, cost in models[:_MAX_LISTED_MODELS]
    ]
    others = len(models) - len(shown)
    more = [f"and {others} other models"] if others else []
    log.warning("The rows have several models. %s", "; ".join([*shown, *more]))


def _check_prices(reader: RowReader, max_cost: float) -> None:
    """Refuse rows whose price nobody can know before the submit."""
    labels, count = reader.unpriced_rows(limit=_MAX_LOGGED_ROWS)
    if count:
        more = f" and {count - len(labels)} more" if count > len(labels) else ""
        raise FluxBudgetError(
            f"max_cost={max_cost:g} cannot be kept: the price of {count} rows is not known "
            f"({', '.join(labels)}{more}). Nothing was submitted. Set the price of their models in "
            "the option [flux] models, or pass these rows to a batch without max_cost."
        )
