"""The budgets of an account in its shared object: read, reserve, settle."""

from __future__ import annotations

import hashlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_flux.account.budgets.messages import budget_error, build_rows
from airflow_provider_flux.account.budgets.parts import Answer, Order
from airflow_provider_flux.account.budgets.periods import Cap, Spender, find_caps, find_known_caps
from airflow_provider_flux.account.budgets.state import MAX_BYTES, BudgetState
from airflow_provider_flux.account.folder import AccountFolder, account_folder, find_account_folder
from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.bfl.budget_rules import BudgetRule
from airflow_provider_flux.bfl.errors import FluxBudgetError
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.object_store.filesystem import run_async
from airflow_provider_flux.object_store.store_clock import read_store_time

log = logging.getLogger(__name__)

#: Name of the shared object, in the folder of the account.
STATE_NAME = "budgets.json"
#: A number for each model, or credits for each holder.
Factors = Mapping[str, float]


@dataclass(frozen=True)
class Refusal:
    """A block that was not reserved.

    :param error: the error to raise if waiting does not help; ``None`` if only a price is awaited.
    :param can_wait: whether other tasks may give credits back, or a price is awaited.
    """

    error: FluxBudgetError | None
    can_wait: bool


@dataclass(frozen=True)
class AccountBudgets:
    """The budgets that limit one task.

    The time is that of the store: the clocks of workers differ, and a clock that is a day ahead
    must not open the budget of another day.

    :param folder: folder of the account.
    :param state: the shared object.
    :param rules: the budgets of the connection.
    :param spender: the task.
    :param source: the connection, for messages.
    :param is_read_only: whether to write nothing, and to use the clock of this machine.
    """

    folder: AccountFolder
    state: SharedState[BudgetState]
    rules: tuple[BudgetRule, ...]
    spender: Spender
    source: str
    is_read_only: bool = False

    async def read_time(self) -> float:
        """Return the time by the clock of the store, in epoch seconds."""
        if self.is_read_only:
            return time.time()
        return await run_async(read_store_time(self.folder.root, self.folder.write_options))

    async def renew(self, order: Order) -> tuple[Answer, Refusal | None]:
        """Settle the submits of a holder and reserve credits for the next ones, in one write.

        :param order: totals and wishes of the holder.
        :return: the answer, and why no credits were reserved if some were asked for.
        :raises FluxStorageError: if the store does not answer.
        """
        now = await self.read_time()
        caps = find_caps(self.rules, self.spender, now)
        answers: list[Answer] = []

        def change(state: BudgetState) -> BudgetState:
            new, answer = state.renew(order, caps, now)
            answers.append(answer)
            return new

        state = await self.state.update(change)
        answer = answers[-1]
        if answer.short is not None and order.minimum > 0:
            error = budget_error(state, answer.short, order.holder, order.minimum, self.source)
            return answer, Refusal(error, answer.awaits is not None)
        if answer.awaits is not None:
            return answer, Refusal(None, can_wait=True)
        return answer, None

    async def close(self, order: Order) -> None:
        """Settle the submits of a holder that ends, and return the rest of its block.

        :param order: its totals.
        :raises FluxStorageError: if the store does not answer.
        """
        now = await self.read_time()
        await self.state.update(lambda state: state.close(order, now))

    async def settle_dead(
        self, ledger: str, own: str, read_totals: Callable[[frozenset[str], Factors], Factors]
    ) -> None:
        """Settle the blocks of dead tries by the ledger of the task.

        :param ledger: id of the ledger.
        :param own: holder of this try.
        :param read_totals: returns the credits of all submits of dead tries, given their holders
            and the factor of each model by which BFL bills more than the price list says. A holder
            that it does not name submitted nothing. It is called only if there are some.
        :raises FluxStorageError: if the store does not answer.
        """
        state = await self.state.read()
        dead = state.dead_holders(ledger, own)
        if not dead:
            return
        totals = read_totals(dead, {model: price.factor for model, price in state.prices.items()})
        found = {holder: totals.get(holder, 0.0) for holder in dead}
        await self.state.update(lambda state: state.settle_dead(found))
        log.info(
            "The budgets of %d earlier tries of this task were settled by its ledger", len(dead)
        )

    async def correct(self, difference: float, age: float) -> None:
        """Correct the cost of a submit that was settled before.

        :param difference: credits to add, negative for a refund.
        :param age: seconds since BFL accepted the submit. A period that began later is unchanged.
        :raises FluxStorageError: if the store does not answer.
        """
        now = await self.read_time()
        caps = find_caps(self.rules, self.spender, now)
        keys = tuple(cap.key for cap in caps if difference > 0 or cap.starts <= now - age)
        if keys:
            label = self.spender.label
            await self.state.update(lambda state: state.correct(label, keys, difference))

    async def find_left(self) -> tuple[float, BudgetState, Cap | None]:
        """Return the credits that nobody has spent in the tightest budget of this task.

        Credits that other tasks have reserved may come back, so they count as left.

        :return: the credits, the shared object, and the budget; ``None`` if none limits the task.
        """
        now = await self.read_time()
        caps, state = find_caps(self.rules, self.spender, now), await self.state.read()

        def left(cap: Cap) -> float:
            return cap.limit - state.spent(cap.key)

        tightest = min(caps, key=left, default=None)
        return (left(tightest) if tightest else float("inf")), state, tightest

    async def list_rows(self) -> list[dict[str, Any]]:
        """Return one flat row for each budget that limits this task.

        :raises FluxStorageError: if the store does not answer.
        """
        now = await self.read_time()
        return build_rows(await self.state.read(), find_caps(self.rules, self.spender, now))


def list_budgets(settings: FluxSettings) -> list[dict[str, Any]]:
    """Return one flat row for each budget of an account in its current period. It writes nothing.

    :param settings: settings of the account.
    :raises FluxConfigurationError: if ``account_path`` cannot be used.
    :raises FluxStorageError: if its store does not answer.
    """
    if not settings.budgets:
        return []
    account = _open(settings, Spender(), "", is_read_only=True)
    state = account.state.read_sync()
    return build_rows(state, find_known_caps(settings.budgets, state.counters, time.time()))


def open_budgets(
    settings: FluxSettings, spender: Spender, source: str, *, is_read_only: bool = False
) -> AccountBudgets | None:
    """Open the budgets that limit a task. Do not call this on an event loop.

    :param settings: settings of the account.
    :param spender: the task.
    :param source: the connection, for messages.
    :param is_read_only: whether nothing is written, which is ``False`` by default. The time is that
        of this machine then.
    :return: ``None`` if no budget limits the task.
    :raises FluxConfigurationError: if ``account_path`` cannot be used.
    :raises FluxStorageError: if its store does not answer.
    """
    # Whether a budget limits the task does not depend on the time.
    if not find_caps(settings.budgets, spender, 0.0):
        return None
    return _open(settings, spender, source, is_read_only=is_read_only)


def _open(
    settings: FluxSettings, spender: Spender, source: str, *, is_read_only: bool
) -> AccountBudgets:
    folder = find_account_folder(settings) if is_read_only else account_folder(settings)
    assert folder is not None  # noqa: S101 - budgets need account_path
    state = SharedState(
        folder.uri(STATE_NAME), BudgetState, BudgetState, folder.write_options, MAX_BYTES
    )
    return AccountBudgets(folder, state, settings.budgets, spender, source, is_read_only)


def ledger_id(location: str) -> str:
    """Return the id of a ledger in the shared object, which does not reveal its place.

    The same path on two machines is two ledgers.

    :param location: URI or path of the ledger.
    """
    is_local = urlsplit(location).scheme in {"", "file", "local"}
    machine = socket.gethostname() if is_local else ""
    return hashlib.sha256(f"{machine}\n{location}".encode()).hexdigest()[:32]
