"""Tasks and batches of one account that has budgets, against the emulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.account.budgets.account_budgets import AccountBudgets, open_budgets
from airflow_provider_flux.account.budgets.periods import Spender
from airflow_provider_flux.account.budgets.state import BudgetState
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.support.batch_tries import Batch, batch, emulated, prompts, quick
from tests.support.image_task import image_task, run_task
from tests.support.task_tries import Died, Task

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")

Start = Callable[..., EmulatorServer]


@pytest.fixture
def account(emulated: Start, tmp_path: Path) -> Callable[..., EmulatorServer]:
    """Start an emulator, and connect to it with budgets in a folder."""

    def start(*budgets: dict[str, Any], **config: Any) -> EmulatorServer:
        folder = tmp_path / "account"
        folder.mkdir(exist_ok=True)
        extra = {"account_path": str(folder), "budgets": list(budgets)}
        return emulated(extra=extra, **config)

    return start


def open_account(dag_id: str = "ads") -> AccountBudgets:
    """Open the budgets as a task of a DAG does."""
    opened = open_budgets(FluxHook().settings, Spender(dag_id, "hero"), "the connection")
    assert opened is not None
    return opened


def read_state() -> BudgetState:
    """Return the shared object."""
    return open_account().state.read_sync()


def credits_of(state: BudgetState) -> tuple[float, float]:
    """Return the credits of the first budget: spent and reserved."""
    key = next(iter(state.counters))
    return state.spent(key), state.reserved(key)


class TestOneImage:
    def test_a_task_settles_what_its_image_cost(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        account({"credits": 100, "per": "day"})
        run_task(image_task(f"{tmp_path}/out/{{request_id}}.{{ext}}"))
        assert credits_of(read_state()) == (4, 0)

    def test_a_task_without_room_submits_nothing_and_names_the_spenders(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = account({"credits": 10, "per": "month"})
        for run in ("monday", "tuesday"):
            run_task(image_task(f"{tmp_path}/out/{{request_id}}.{{ext}}"), run)
        with pytest.raises(AirflowFailException) as caught:
            run_task(image_task(f"{tmp_path}/out/{{request_id}}.{{ext}}"), "wednesday")
        message = str(caught.value)
        assert "FluxBudgetError: The budget of 10 credits per month has too little left" in message
        assert "8 are spent. Most was spent by: ads.hero 8. It resets at" in message
        assert server.stats()["submits"] == 2
        assert credits_of(read_state()) == (8, 0)

    def test_a_budget_of_another_dag_or_tag_does_not_limit_a_task(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        account(
            {"credits": 0, "per": "day", "dag": "catalogue"},
            {"credits": 0, "per": "week", "tag": "marketing"},
            {"credits": 8, "per": "day", "dag": "*"},
        )
        run_task(image_task(f"{tmp_path}/out/{{request_id}}.{{ext}}"))
        with pytest.raises(AirflowFailException, match="per day of DAG 'catalogue'"):
            run_task(image_task(f"{tmp_path}/out/{{request_id}}.{{ext}}"), dag_id="catalogue")

    def test_a_refused_submit_costs_nothing(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        account({"credits": 100, "per": "day"}, credits=0.0)
        with pytest.raises(AirflowFailException, match="FluxInsufficientCreditsError"):
            run_task(image_task(f"{tmp_path}/out/{{request_id}}.{{ext}}"))
        assert credits_of(read_state()) == (0, 0)

    def test_a_lost_answer_counts_as_spent_and_a_moderated_image_does_not(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        account({"credits": 100, "per": "day"})
        for fault, error in (("submit-lost", "Uncertain"), ("moderated", "Moderated")):
            task = image_task(f"{tmp_path}/{fault}.{{ext}}", f"a fox [[fault:{fault}]]")
            with pytest.raises(AirflowFailException, match=error):
                run_task(task)
        assert credits_of(read_state()) == (4, 0)

    def test_a_retry_settles_the_reservation_of_a_try_that_died_by_its_record(
        self,
        account: Callable[..., EmulatorServer],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        account({"credits": 100, "per": "day"})
        path = f"{tmp_path}/out/hero.{{ext}}"
        task = Task({"task_id": "hero", "prompt": "a fox", "output_path": path})

        async def die(self: AccountBudgets, order: object) -> None:
            raise Died

        with monkeypatch.context() as patched:
            patched.setattr(AccountBudgets, "close", die)
            with pytest.raises(Died):
                task.retry()
        assert credits_of(read_state()) == (0, 4)
        task.retry()
        assert credits_of(read_state()) == (4, 0)


class TestBatches:
    def test_a_batch_settles_its_rows_in_few_writes(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = account({"credits": 1000, "per": "day"}, latency=0.05)
        summary = batch(tmp_path, prompts(96)).retry()
        assert summary["landed"] == 96
        assert credits_of(read_state()) == (384, 0) == (server.stats()["credits_spent"], 0)
        assert self.count_writes(tmp_path) <= 96 / 24 + 5

    @staticmethod
    def count_writes(folder: Path) -> int:
        [path] = folder.glob("account/**/budgets.json")
        return int(json.loads(path.read_text())["number"])

    def test_a_batch_that_costs_more_than_the_budget_submits_nothing(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = account({"credits": 10, "per": "day"})
        task = batch(tmp_path, prompts(4))
        message = task.fail(AirflowFailException, "^FluxBudgetError")
        assert "too little left for the rows to submit, expected to cost 16" in message
        assert server.stats()["submits"] == 0

    def test_trim_submits_the_rows_that_fit_into_the_budget(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = account({"credits": 10, "per": "day"})
        task = batch(tmp_path, prompts(4), on_budget="trim")
        task.retry()
        assert task.outcomes() == ["landed", "landed", "pending", "pending"]
        assert server.stats()["credits_spent"] == 8
        assert credits_of(read_state()) == (8, 0)

    def test_rows_without_a_known_price_count_as_the_dearest_of_their_family(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = account({"credits": 5, "per": "day"})
        rows = [{"key": "a", "prompt": "fox", "model": "flux-pro-9"}]
        task = batch(tmp_path, rows, validate=False, defaults={})
        message = task.fail(AirflowFailException, "^FluxBudgetError")
        assert "expected to cost 7" in message
        assert server.stats()["submits"] == 0

    def test_refunds_lost_answers_and_fallbacks_count_as_in_the_summary(
        self, account: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        account({"credits": 1000, "per": "day"})
        rows = [*prompts(6), *prompts(3, "moderated", 10), *prompts(2, "submit-lost", 20)]
        task = batch(tmp_path, rows, max_failed=None, max_moderated=None)
        summary = task.retry()
        assert credits_of(read_state()) == (summary["credits"], 0)

    def test_a_defect_in_the_last_write_fails_neither_a_batch_nor_a_task_that_has_paid(
        self,
        account: Callable[..., EmulatorServer],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        account({"credits": 1000, "per": "day"})

        async def fail(self: AccountBudgets, order: object) -> None:
            raise ValueError("a bug")

        monkeypatch.setattr(AccountBudgets, "close", fail)
        assert batch(tmp_path, prompts(2)).retry()["landed"] == 2
        run_task(image_task(f"{tmp_path}/out/{{request_id}}.{{ext}}"))
        assert caplog.text.count("(a bug)") == 2

    def test_a_retry_settles_the_block_of_a_batch_that_was_killed(
        self,
        account: Callable[..., EmulatorServer],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        server = account({"credits": 1000, "per": "day"})
        task: Batch = batch(tmp_path, prompts(8))

        async def die(self: AccountBudgets, order: object) -> None:
            raise Died

        with monkeypatch.context() as patched:
            patched.setattr(AccountBudgets, "close", die)
            with pytest.raises(Died):
                task.retry()
        assert credits_of(read_state())[1] > 0
        task.retry(requests=prompts(12))
        assert credits_of(read_state()) == (48, 0) == (server.stats()["credits_spent"], 0)
