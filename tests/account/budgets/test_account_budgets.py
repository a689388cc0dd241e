"""Budgets in a real store: several holders at once, lost answers and refusals at random."""

from __future__ import annotations

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_flux.account.budgets.account_budgets import (
    AccountBudgets,
    ledger_id,
    list_budgets,
    open_budgets,
)
from airflow_provider_flux.account.budgets.holder import BlockHolder
from airflow_provider_flux.account.budgets.periods import Spender
from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings
from airflow_provider_flux.object_store import store_clock
from airflow_provider_flux.object_store.filesystem import run_sync
from tests.support.conditional_stores import ConditionalStore

MODEL, PRICE = "flux-pro-1.1", 4.0
HOLDERS, LIMIT = 2, 24.0


def settings_of(root: str, **budget: object) -> FluxSettings:
    budgets = [{"credits": LIMIT, "per": "day", **budget}]
    extra = {"account_path": root, "budgets": budgets}
    return read_settings(api_key="bfl_test", base_url=None, extra=extra, source="the connection")


def open_account(root: str, task: str = "hero") -> AccountBudgets:
    opened = open_budgets(settings_of(root), Spender("ads", task), "the connection")
    assert opened is not None
    return opened


def spend_all(budgets: AccountBudgets, number: int) -> float:
    """Submit until the budget has no room, and return what was billed."""
    holder, billed, draw = BlockHolder("", budgets.spender.label, 4), 0.0, random.Random(number)
    while True:
        now = time.monotonic()
        taken = holder.take(MODEL, PRICE, now)
        if taken is not None:
            is_billed = draw.random() < 0.8
            billed += PRICE * is_billed
            holder.settle(taken, PRICE) if is_billed else holder.release(taken)
            continue
        order = holder.build_order(now, MODEL, PRICE)
        answer, refusal = run_sync(budgets.renew(order))
        holder.apply(order, answer, now)
        if refusal and not refusal.can_wait:
            break
        if refusal:
            time.sleep(0.01)
    run_sync(budgets.close(holder.build_last_order()))
    return billed


class TestStores:
    def test_holders_at_once_spend_the_whole_budget_and_no_more_while_answers_are_lost(
        self, swapping: ConditionalStore
    ) -> None:
        accounts = [open_account(swapping.root, f"task{n}") for n in range(HOLDERS)]
        run_sync(accounts[0].read_time())
        if swapping.proxy:
            swapping.proxy.lost = swapping.proxy.conflicts = 0.1
        with ThreadPoolExecutor(HOLDERS) as pool:
            billed = sum(pool.map(spend_all, accounts, range(HOLDERS)))
        if swapping.proxy:
            swapping.proxy.lost = swapping.proxy.conflicts = 0.0
        state = accounts[0].state.read_sync()
        [key] = state.counters
        assert LIMIT - PRICE < billed <= LIMIT
        assert (state.spent(key), state.reserved(key)) == (billed, 0)
        assert sum(credits_ for _, credits_ in state.spenders_of(key)) == billed


@pytest.mark.parametrize("swapping", ["file"], indirect=True)
class TestClock:
    def test_a_worker_whose_clock_is_a_day_ahead_opens_no_second_period(
        self, swapping: ConditionalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        budgets = open_account(swapping.root)
        spend_all(budgets, 0)
        ahead = time.time() + 86400
        monkeypatch.setattr(time, "time", lambda: ahead)
        assert spend_all(budgets, 1) == 0
        assert len(budgets.state.read_sync().counters) == 1

    def test_a_store_without_a_clock_spends_nothing(
        self, swapping: ConditionalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_clock, "_TIME_FIELDS", ())
        budgets = open_account(swapping.root)
        with pytest.raises(FluxStorageError, match=r"its time is not known\. A retry may help"):
            run_sync(budgets.read_time())


@pytest.mark.parametrize("swapping", ["file"], indirect=True)
class TestLists:
    def test_a_budget_for_each_dag_lists_the_dags_that_spent(
        self, swapping: ConditionalStore
    ) -> None:
        settings = settings_of(swapping.root, dag="*")
        assert list_budgets(settings) == []
        for dag in ("ads", "catalogue"):
            budgets = open_budgets(settings, Spender(dag, "hero"), "the connection")
            assert budgets is not None
            spend_all(budgets, 0)
        rows = list_budgets(settings)
        assert [row["counter"] for row in rows] == ["dag=ads", "dag=catalogue"]
        assert all(row["left"] < PRICE and row["reserved"] == 0 for row in rows)
        assert rows[0]["spenders"].startswith("ads.hero ")

    def test_two_airflows_with_one_key_share_a_budget(self, swapping: ConditionalStore) -> None:
        extra = {"account_path": swapping.root, "budgets": [{"credits": 8, "per": "week"}]}
        hosts = ("https://api.bfl.ai", "https://api.eu.bfl.ai")
        airflows = [
            read_settings(api_key="bfl_test", base_url=host, extra=extra, source="the connection")
            for host in hosts
        ]
        spent = []
        for settings in airflows:
            budgets = open_budgets(settings, Spender("ads", "hero"), "the connection")
            assert budgets is not None
            spent.append(spend_all(budgets, 5))
        assert sum(spent) == 8


def test_the_same_path_on_two_machines_is_two_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ("s3://media/ledger", "/data/ledger")
    here = [ledger_id(place) for place in places]
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    there = [ledger_id(place) for place in places]
    assert here[0] == there[0]
    assert here[1] != there[1]
