"""Batches and single tasks that share the quota of an account, against the emulator."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.account.governor.open_quota import QUOTA_FILE, open_quota
from airflow_provider_flux.account.governor.quota import Quota, QuotaClient
from airflow_provider_flux.account.governor.shares import Slots
from airflow_provider_flux.account.governor.single import SlotOfTask
from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.batch.schedule import circuit_breaker
from airflow_provider_flux.bfl.errors import FluxRateLimitedError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.support.batch_interruptions import meanwhile, wait_until
from tests.support.batch_tries import batch, emulated, prompts, quick
from tests.support.image_task import image_task, task_context
from tests.support.task_tries import Died, Task

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")
VARIABLE = "AIRFLOW_VAR_FLUX_QUOTA"
Emulated = Callable[..., EmulatorServer]


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """A folder that all tasks of the account share."""
    folder = tmp_path / "account"
    folder.mkdir()
    return folder


def open_state() -> SharedState[Quota]:
    """Return the quota object of the connection."""
    state = open_quota(FluxHook().settings)
    assert state is not None
    return state


def hold_all_slots(state: SharedState[Quota], name: str = "f" * 32) -> None:
    """Enter a client that holds all slots, and that does not end within the test."""
    entry = QuotaClient(demand=Slots(total=24), held=Slots(total=24), lasts=600)
    state.update_sync(lambda quota: quota.with_client(name, entry))


class TestPause:
    def test_a_batch_submits_nothing_until_the_pause_of_the_variable_ends(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv(VARIABLE, '{"pause": true}')

        def end_pause() -> None:
            wait_until(lambda: "Paused by the Variable 'flux_quota'" in caplog.text, 60)
            assert emulator.stats()["submits"] == 0
            monkeypatch.setenv(VARIABLE, '{"flux_default": {"pause": false}}')

        with caplog.at_level(logging.INFO), meanwhile(end_pause):
            summary = batch(tmp_path, prompts(3), live_interval=0.0).retry()
        assert summary["landed"] == 3
        assert "The pause has ended" in caplog.text

    def test_a_paused_connection_keeps_a_single_task_from_submitting(
        self, emulated: Emulated, tmp_path: Path
    ) -> None:
        server = emulated(extra={"pause": True})
        task = image_task(f"{tmp_path}/a.{{ext}}", timeout=1, retries=1)
        with pytest.raises(FluxRateLimitedError, match="paused by pause of the connection"):
            task.execute(task_context(task))
        assert server.stats()["submits"] == 0

    def test_a_malformed_variable_is_an_error_before_the_first_submit(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(VARIABLE, '{"max_active": 10001}')
        message = "max_active='10001' in the Variable 'flux_quota' is not a whole number from 1 to"
        batch(tmp_path, prompts(1)).fail(AirflowFailException, message)
        assert emulator.stats()["submits"] == 0


class TestMaxActive:
    def test_a_running_batch_keeps_to_a_smaller_max_active_of_the_variable(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        submits_before: list[int] = []

        def lower() -> None:
            wait_until(lambda: emulator.stats()["submits"] >= 6, 60)
            monkeypatch.setenv(VARIABLE, '{"max_active": 2}')
            wait_until(lambda: "max_active is 2 now, and was 6" in caplog.text, 60)
            submits_before.append(emulator.stats()["submits"])

        with caplog.at_level(logging.INFO), meanwhile(lower):
            rows = prompts(16, "slow=0.8")
            assert batch(tmp_path, rows, max_active=6, live_interval=0.0).retry()["landed"] == 16
        tasks = sorted(emulator.timeline()["tasks"], key=lambda task: task["submitted_at"])
        # Those of the first moments may still have found the generations from before.
        for task in tasks[submits_before[0] + 2 :]:
            start = task["submitted_at"]
            active = [t for t in tasks if t["submitted_at"] <= start < (t["ends_at"] or start)]
            assert len(active) <= 2


class TestAccountPath:
    @pytest.mark.parametrize("slow", [[], ["a fox [[fault:slow=10]]"]], ids=["alone", "beside"])
    def test_a_batch_whose_submits_had_no_answer_gets_a_slot_to_try_again(
        self,
        slow: list[str],
        emulated: Emulated,
        tmp_path: Path,
        account: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(circuit_breaker, "_BACKOFF_SECONDS", 0.25)  # 2 s after six
        server = emulated(extra={"account_path": f"file://{account}"})
        rows = [*slow, *prompts(6, "submit-500"), *prompts(4, start=6)]
        task = batch(tmp_path, rows, max_failed=None)

        def stop_if_stuck() -> None:
            try:
                wait_until(lambda: server.stats()["submits"] == len(slow) + 4, 60)
            except BaseException:
                assert task.operator
                task.operator.on_kill()
                raise

        with meanwhile(stop_if_stuck):
            summary = task.retry()
        assert summary["landed"] == len(slow) + 4
        assert summary["uncertain"] == 6
        first, *others = sorted(server.timeline()["tasks"], key=lambda made: made["submitted_at"])
        if slow:
            assert max(made["submitted_at"] for made in others) < first["ends_at"]

    def test_a_batch_enters_the_quota_and_leaves_it_when_it_ends(
        self, emulated: Emulated, account: Path, tmp_path: Path
    ) -> None:
        server = emulated(extra={"account_path": str(account)})
        seen: list[QuotaClient] = []

        def look() -> None:
            wait_until(lambda: server.stats()["submits"] >= 1, 60)
            seen.extend(open_state().read_sync().clients.values())

        with meanwhile(look):
            assert batch(tmp_path, prompts(4, "slow=1"), priority="low").retry()["landed"] == 4
        assert [(client.rank, client.held.total) for client in seen] == [(0, 4)]
        assert open_state().read_sync().clients == {}
        assert server.stats()["submits"] == 4

    def test_a_quota_object_that_cannot_be_read_ends_no_batch(
        self,
        emulated: Emulated,
        account: Path,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        emulated(extra={"account_path": str(account)})
        state = open_state()
        state.update_sync(lambda quota: quota.model_copy(update={"next_ticket": 1}))
        next(account.rglob(QUOTA_FILE)).write_text(json.dumps({"state": "of a stranger"}))
        assert batch(tmp_path, prompts(4)).retry()["landed"] == 4
        lines = [r for r in caplog.records if "quota in account_path cannot be used" in r.message]
        assert len(lines) == 1

    def test_an_urgent_task_waits_for_a_slot_that_a_batch_gives_back(
        self,
        emulated: Emulated,
        account: Path,
        tmp_path: Path,
    ) -> None:
        server = emulated(extra={"account_path": str(account)})
        state = open_state()
        hold_all_slots(state)

        def give_back() -> None:
            wait_until(lambda: len(state.read_sync().clients) == 2, 60)
            assert server.stats()["submits"] == 0
            ranks = [client.rank for client in state.read_sync().clients.values()]
            assert sorted(ranks) == [1, 2]
            state.update_sync(lambda quota: quota.without({"f" * 32}))

        task = image_task(f"{tmp_path}/a.{{ext}}", priority="high")
        with meanwhile(give_back):
            assert task.execute(task_context(task))["status"] == "Ready"
        (left,) = state.read_sync().clients.values()
        assert (left.demand.total, left.held.total) == (0, 1)

    def test_a_task_that_gets_no_slot_in_time_submits_nothing(
        self, emulated: Emulated, account: Path, tmp_path: Path
    ) -> None:
        server = emulated(extra={"account_path": str(account)})
        state = open_state()
        hold_all_slots(state)
        task = image_task(f"{tmp_path}/a.{{ext}}", timeout=1, retries=1)
        with pytest.raises(FluxRateLimitedError, match="Other tasks have all slots"):
            task.execute(task_context(task))
        assert server.stats()["submits"] == 0
        assert list(state.read_sync().clients) == ["f" * 32]

    def test_a_task_that_is_killed_while_it_gives_its_slot_back_has_recorded_its_submit(
        self,
        emulated: Emulated,
        account: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        server = emulated(extra={"account_path": str(account)})
        other = QuotaClient(demand=Slots(total=1), held=Slots(total=1), lasts=600)
        open_state().update_sync(lambda quota: quota.with_client("f" * 32, other))
        task = Task({"task_id": "hero", "prompt": "a fox", "output_path": f"{tmp_path}/a.{{ext}}"})

        def die(self: SlotOfTask, active: Slots, seconds: float) -> None:
            raise Died

        with monkeypatch.context() as patched:
            patched.setattr(SlotOfTask, "leave", die)
            with pytest.raises(Died):
                task.retry()
        assert server.stats()["submits"] == 1
        assert task.retry()["uncertain_submits"] == 0
        assert server.stats()["submits"] == 1
