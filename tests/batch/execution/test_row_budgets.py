"""The budgets of an account while a batch works, on a disk: refusals, waits, and the end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_flux.account import shared_state
from airflow_provider_flux.account.budgets.account_budgets import AccountBudgets, open_budgets
from airflow_provider_flux.account.budgets.parts import Order
from airflow_provider_flux.account.budgets.periods import Spender
from airflow_provider_flux.account.budgets.state import BudgetState
from airflow_provider_flux.batch.execution import row_budgets
from airflow_provider_flux.batch.execution.land import Lander
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets, RowBudgets
from airflow_provider_flux.batch.rejected import RejectedImages
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.bfl.errors import FluxBudgetError, FluxError
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.object_store.conditional import replace_version
from airflow_provider_flux.object_store.filesystem import run_async
from tests.support.batch_interruptions import meanwhile, stop_after
from tests.support.batch_rows import CHEAP_MODEL, MODEL, build_request, row_builder
from tests.support.batch_tries import batch, emulated, prompts, quick

__all__ = ["emulated", "quick"]

#: Credits of an image of MODEL and of CHEAP_MODEL.
PRICE, CHEAP_PRICE = 4, 3
KLEIN, KLEIN_PRICE = "flux-2-klein-4b", 1.4
Start = Callable[..., EmulatorServer]


def pending_row(index: int, model: str = MODEL, rejected: int = 0) -> PendingRow:
    """Return a row that is to be submitted, after some images that a check rejected."""
    request = build_request(model, {"prompt": f"p{index}", "width": 256, "height": 256})
    images = RejectedImages(count=rejected)
    return row_builder().build_pending(index, f"k{index}", request, rejected=images)


def accepted(row: PendingRow) -> Generation:
    """Return the generation of an accepted row, as far as a budget reads it."""
    known = {"model": row.model, "cost": row.estimate, "estimated_cost": row.estimate}
    return cast("Generation", known)


def open_account(folder: Path, limit: float) -> AccountBudgets:
    """Open a budget in a folder."""
    budgets = [{"credits": limit, "per": "month"}]
    extra = {"account_path": str(folder), "budgets": budgets}
    settings = read_settings(
        api_key="bfl_test", base_url=None, extra=extra, source="the connection"
    )
    return open_as_task(settings)


def open_as_task(settings: FluxSettings) -> AccountBudgets:
    """Open the budgets as a task does."""
    opened = open_budgets(settings, Spender("ads", "hero"), "the connection")
    assert opened is not None
    return opened


def credits_of(state: BudgetState) -> tuple[float, float]:
    """Return the credits of the budget: spent and reserved."""
    [key] = state.counters
    return state.spent(key), state.reserved(key)


class Rows:
    """The rows of a batch that takes from a budget, and is woken by it."""

    def __init__(self, account: AccountBudgets, block: int, holder: str) -> None:
        self.woken = asyncio.Event()
        self.budgets = RowBudgets(BatchBudgets(account, "l" * 32, holder), block, self.woken.set)

    async def take(self, row: PendingRow) -> bool:
        """Take a row as the loop of a batch does, and return whether it may be submitted."""
        while not self.budgets.take(row):
            if self.budgets.refusal:
                return False
            await self.woken.wait()
            self.woken.clear()
        return True

    async def pay(self, row: PendingRow) -> bool:
        """Take a row, and settle its cost if it may be submitted."""
        is_taken = await self.take(row)
        if is_taken:
            self.budgets.settle(row, accepted(row))
        return is_taken


@asynccontextmanager
async def rows_of(
    account: AccountBudgets, block: int = 1, holder: str = "try"
) -> AsyncIterator[Rows]:
    """Open the budgets of a batch, and close them at the end."""
    rows = Rows(account, block, holder)
    try:
        yield rows
    finally:
        await rows.budgets.close()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the reads and the writes of the shared object, which still happen."""
    found: Counter[str] = Counter()

    def count(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **more: Any) -> Any:
            found[name] += 1
            return work(*args, **more)

        return run

    for name in ("read_version", "replace_version"):
        monkeypatch.setattr(shared_state, name, count(name, getattr(shared_state, name)))
    return found


class TestRefusals:
    async def test_a_cheaper_row_that_fits_is_submitted_after_a_refused_reroll(
        self, tmp_path: Path
    ) -> None:
        account = open_account(tmp_path, PRICE + CHEAP_PRICE)
        async with rows_of(account) as rows:
            assert await rows.pay(pending_row(0))
            assert not await rows.take(pending_row(0, rejected=1))
            assert isinstance(rows.budgets.refusal, FluxBudgetError)
            assert await rows.pay(pending_row(1, CHEAP_MODEL))
        assert credits_of(await account.state.read()) == (PRICE + CHEAP_PRICE, 0)

    async def test_rerolls_of_a_refused_price_are_refused_without_another_write(
        self, tmp_path: Path, counts: Counter[str]
    ) -> None:
        account = open_account(tmp_path, PRICE + CHEAP_PRICE)
        async with rows_of(account) as rows:
            assert await rows.pay(pending_row(0))
            assert not await rows.take(pending_row(0, rejected=1))
            before = Counter(counts)
            for index in range(1, 20):
                assert not await rows.take(pending_row(index, rejected=1))
            assert counts == before

    async def test_a_dear_row_does_not_end_the_batch_while_a_cheaper_one_is_on_its_way(
        self, tmp_path: Path
    ) -> None:
        account = open_account(tmp_path, PRICE + CHEAP_PRICE)
        async with rows_of(account) as rows:
            assert await rows.pay(pending_row(0))
            cheap = pending_row(1, CHEAP_MODEL)
            assert await rows.take(cheap)
            taking = asyncio.create_task(rows.take(pending_row(2)))
            await asyncio.wait([taking], timeout=0.2)
            assert not taking.done()
            rows.budgets.settle(cheap, accepted(cheap))
            assert not await taking
            assert isinstance(rows.budgets.refusal, FluxBudgetError)

    async def test_a_row_is_refused_once_all_others_were_answered_whatever_order_they_ended_in(
        self, tmp_path: Path
    ) -> None:
        limit = KLEIN_PRICE + CHEAP_PRICE + PRICE
        async with rows_of(open_account(tmp_path, limit)) as rows:
            taken = [pending_row(0, KLEIN), pending_row(1, CHEAP_MODEL), pending_row(2)]
            prices = dict.fromkeys((KLEIN, CHEAP_MODEL, MODEL), 1.0)
            known = Order(holder="other", spender="x", prices=prices)
            await open_account(tmp_path, limit).renew(known)
            for row in taken:
                assert await rows.take(row)
            for row in (taken[1], taken[2], taken[0]):  # the sum of the floats is not 0 then
                rows.budgets.settle(row, accepted(row))
            async with asyncio.timeout(10):
                assert not await rows.take(pending_row(3))

    async def test_a_row_that_was_not_tried_gets_what_other_tasks_return_after_a_refused_reroll(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row_budgets, "_MAX_WAIT_SECONDS", 0.0)
        account = open_account(tmp_path, PRICE)
        order = Order(holder="other", spender="x", minimum=PRICE, prices={MODEL: 1.0})
        await account.renew(order)
        async with rows_of(account) as rows:
            assert not await rows.take(pending_row(0, rejected=1))
            await account.close(order)
            assert not await rows.take(pending_row(1, rejected=1))
            assert await rows.pay(pending_row(2))

    @pytest.mark.usefixtures("quick")
    @pytest.mark.parametrize("on_budget", ["fail", "trim"])
    def test_a_batch_submits_the_rows_that_fit_after_a_refused_reroll(
        self, emulated: Start, tmp_path: Path, on_budget: str
    ) -> None:
        budgets = [{"credits": PRICE + 2 * KLEIN_PRICE, "per": "month"}]
        extra = {"account_path": str(tmp_path), "budgets": budgets}
        server = emulated(extra=extra, latency=0.05)
        klein = {"model": KLEIN}
        table = [
            {"key": "a", "prompt": "fox [[fault:blank=always]]"},
            {"key": "b", "prompt": "owl [[fault:slow=1]]", **klein},
            {"key": "c", "prompt": "elk", **klein},
        ]
        more = {"checks": ["not_blank"], "max_rerolls": 3, "max_active": 1, "on_budget": on_budget}
        task = batch(tmp_path, table, max_failed=None, **more)
        summary = task.retry()
        assert task.outcomes() == ["rejected", "landed", "landed"]
        assert "a budget of the account" in task.manifest()[0]["reason"]
        assert server.stats()["submits"] == 3
        assert summary["credits"] == pytest.approx(PRICE + 2 * KLEIN_PRICE)


class TestWaits:
    async def test_a_row_that_waits_for_the_first_cost_of_another_model_reads_and_writes_nothing(
        self, tmp_path: Path, counts: Counter[str]
    ) -> None:
        async with rows_of(open_account(tmp_path, 1000), block=4) as rows:
            first, other = pending_row(0), pending_row(1, CHEAP_MODEL)
            assert await rows.take(first)
            taking = asyncio.create_task(rows.take(other))
            await asyncio.wait([taking], timeout=0.5)  # time for hundreds of reads
            assert not taking.done()
            assert counts["read_version"] <= 2
            rows.budgets.settle(first, accepted(first))
            rows.woken.set()
            assert await taking


class TestClose:
    async def test_a_write_that_the_store_completes_after_the_end_leaves_no_block(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account = open_account(tmp_path, 1000)
        sent, writes = threading.Event(), []

        async def write_late(*args: Any) -> None:
            """Write although the caller may be gone, as a store does with a request it has."""
            sent.set()
            await asyncio.sleep(0.2)
            await replace_version(*args)

        async def send(*args: Any) -> None:
            writes.append(asyncio.ensure_future(write_late(*args)))
            await asyncio.shield(writes[-1])

        monkeypatch.setattr(shared_state, "replace_version", send)
        async with rows_of(account, block=24) as rows:
            assert not rows.budgets.take(pending_row(0))
            await asyncio.to_thread(sent.wait)
        await run_async(asyncio.wait(writes))
        state = await account.state.read()
        assert (state.blocks, credits_of(state)) == ({}, (0, 0))

    async def test_the_end_does_not_wait_for_a_row_that_awaits_the_credits_of_other_tasks(
        self, tmp_path: Path
    ) -> None:
        account = open_account(tmp_path, PRICE)
        async with rows_of(account) as first, rows_of(account, holder="other") as second:
            assert await first.take(pending_row(0))
            taking = asyncio.create_task(second.take(pending_row(0)))
            await asyncio.wait([taking], timeout=0.2)
            assert not taking.done()
            await asyncio.wait_for(second.budgets.close(), 10)
            taking.cancel()
        state = await account.state.read()
        assert (state.blocks, credits_of(state)) == ({}, (PRICE, 0))

    @pytest.mark.usefixtures("quick")
    @pytest.mark.parametrize("end", ["stopped", "defect", "no credits"])
    def test_a_batch_that_ends_with_an_error_returns_the_rest_of_its_block_at_once(
        self, emulated: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        budgets = [{"credits": 1000, "per": "month"}]
        extra = {"account_path": str(tmp_path), "budgets": budgets}
        server = emulated(extra=extra, latency=0.05)
        table = prompts(40)
        if end == "no credits":
            table[20] += " [[fault:no-credits]]"
        task = batch(tmp_path, table, max_active=8)
        if end == "defect":
            monkeypatch.setattr(Lander, "land", _fail)
        with meanwhile(stop_after(server, task, 4)) if end == "stopped" else nullcontext():
            task.fail(AirflowException if end == "no credits" else FluxError)
        state = open_as_task(FluxHook().settings).state.read_sync()
        assert (state.blocks, credits_of(state)) == ({}, (server.stats()["credits_spent"], 0))


async def _fail(self: Lander, row: object) -> None:
    raise ValueError("a bug")
