"""Batches that are stopped, refused or out of credits, and the tries that resume them."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_flux.batch.execution.engine_loop import EngineLoop
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxServiceError
from airflow_provider_flux.bfl.pricing import Estimate
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.object_store.blocking import pause
from tests.support.batch_interruptions import (
    meanwhile,
    release_when,
    stop_after,
    submit_as_another_client,
    time_out_after,
    wait_until,
)
from tests.support.batch_tries import batch, emulated, prompts, quick
from tests.support.sample_media import make_image

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")
Connect = Callable[..., None]


class TestStop:
    def test_a_stopped_batch_lands_the_rows_in_flight_and_submits_no_more(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(40, "slow=0.3"), max_active=8)
        with meanwhile(stop_after(emulator, task, 8)):
            task.fail(FluxBatchError, "The task was stopped. A retry resumes the batch.")
        submits = emulator.stats()["submits"]
        assert 8 <= submits < 40
        assert task.counts() == {"landed": submits, "pending": 40 - submits}
        assert task.summary
        assert (task.summary["landed"], task.summary["pending"]) == (submits, 40 - submits)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 40

    def test_a_retry_resumes_the_rows_that_a_stopped_try_could_not_land(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [*prompts(6, "slow=1.2"), *prompts(6, start=6)]
        task = batch(tmp_path, rows, max_active=6, grace=0.2)
        with meanwhile(stop_after(emulator, task, 6)):
            task.fail(FluxBatchError)
        assert task.counts() == {"submitted": 6, "pending": 6}
        summary = task.retry()
        assert (summary["landed"], summary["credits"], summary["credits_wasted"]) == (12, 48, 0)
        assert emulator.stats()["submits"] == 12

    def test_a_clear_resumes_rows_even_if_the_input_is_in_another_order(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [{"prompt": prompt, "key": f"k{n}"} for n, prompt in enumerate(prompts(4, "slow=1"))]
        task = batch(tmp_path, rows, grace=0)
        with meanwhile(stop_after(emulator, task, 4)):
            task.fail(FluxBatchError)
        assert task.cleared().retry(requests=rows[::-1])["landed"] == 4
        assert emulator.stats()["submits"] == 4
        for number, row in enumerate(task.manifest()):
            sidecar = json.loads(Path(row["sidecar"]).read_text())
            assert row["key"] == f"k{3 - number}"
            assert sidecar["request"]["prompt"] == prompts(4, "slow=1")[3 - number]

    def test_an_execution_timeout_lets_the_rows_in_flight_land(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(40, "slow=0.4"), max_active=4, grace=3)
        with pytest.raises(AirflowTaskTimeout), meanwhile(time_out_after(emulator, 8)):
            task.retry()
        submits = emulator.stats()["submits"]
        assert 0 < submits < 40
        assert task.counts() == {"landed": submits, "pending": 40 - submits}
        assert not [
            thread for thread in threading.enumerate() if thread.name.startswith("flux-batch")
        ]

    def test_an_execution_timeout_leaves_slow_rows_to_the_retry(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = prompts(4, "slow=2.5")
        task = batch(tmp_path, rows, grace=0.1)
        with pytest.raises(AirflowTaskTimeout), meanwhile(time_out_after(emulator, 4)):
            task.retry()
        assert task.counts() == {"submitted": 4}
        time.sleep(2)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 4

    def test_a_timeout_is_raised_even_if_the_engine_ends_late(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow_provider_flux.batch import run_loop
        from airflow_provider_flux.ledger import journal

        put = journal.put

        async def slow(*arguments: Any) -> None:
            await pause(0.25)
            await put(*arguments)

        monkeypatch.setattr(run_loop, "_END_SECONDS", 0.1)
        monkeypatch.setattr(journal, "put", slow)
        task = batch(tmp_path, prompts(4, "slow=2"), grace=0)
        with pytest.raises(AirflowTaskTimeout), meanwhile(time_out_after(emulator, 4)):
            task.retry()
        assert task.counts()["submitted"] > 0
        assert json.loads(task.segments()[0].read_text().splitlines()[0])["is_closed"]

    @pytest.mark.parametrize("fault", ["submit-hang=1.5", "slow=1.5"])
    def test_a_stopped_batch_leaves_no_input_on_this_machine(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        (tmp_path / "in.png").write_bytes(make_image())
        rows = [
            {"prompt": prompt, "input_image": f"file://{tmp_path}/in.png"}
            for prompt in prompts(30, fault)
        ]
        task = batch(tmp_path, rows, model="flux-2-pro", max_active=2, grace=0)
        with meanwhile(stop_after(emulator, task, 1)):
            task.fail(FluxBatchError)
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_a_stop_while_the_input_is_read_submits_nothing(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(4))
        release = threading.Event()

        def rows() -> Iterator[str]:
            release.wait(10)
            yield from prompts(4)

        def interrupt() -> None:
            wait_until(lambda: task.operator is not None and task.operator._batch_run is not None)
            assert task.operator
            task.operator.on_kill()
            release.set()

        class Slow:
            def __iter__(self) -> Iterator[str]:
                return rows()

        with meanwhile(interrupt):
            task.fail(FluxBatchError, "was stopped", requests=Slow())
        assert emulator.stats()["submits"] == 0
        assert task.counts() == {"pending": 4}

    def test_the_sidecar_of_a_resumed_row_describes_the_request_that_was_submitted(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        (tmp_path / "in.png").write_bytes(make_image())
        row = {"prompt": "a fox [[fault:slow=1]]", "input_image": f"{tmp_path}/in.png"}
        task = batch(tmp_path, [row], model="flux-2-pro", grace=0)
        with meanwhile(stop_after(emulator, task, 1)):
            task.fail(FluxBatchError)
        task.retry()
        (landed,) = task.manifest()
        request = json.loads(Path(landed["sidecar"]).read_text())["request"]
        assert request["fingerprint"] == landed["fingerprint"]
        assert request["parameters"]["input_image"]["sha256"]

    def test_a_resumed_row_that_changed_has_the_sidecar_of_its_earlier_request(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, ["a fox [[fault:slow=1]]"], grace=0, on_change="resume")
        with meanwhile(stop_after(emulator, task, 1)):
            task.fail(FluxBatchError)
        task.retry(requests=["a hare"])
        assert emulator.stats()["submits"] == 1
        request = json.loads(Path(task.manifest()[0]["sidecar"]).read_text())["request"]
        assert request["prompt"] == "a fox [[fault:slow=1]]"


class TestMoney:
    def test_a_batch_above_max_cost_is_refused_before_it_submits(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(10), max_cost=39)
        message = task.fail(
            AirflowFailException,
            "^FluxBudgetError: The rows to submit are expected to cost 40 credits",
        )
        assert "max_cost=39" in message
        assert emulator.stats()["submits"] == 0
        assert task.retry(max_cost=40)["landed"] == 10

    def test_a_batch_above_the_balance_is_refused_before_it_submits(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(credits=39)
        task = batch(tmp_path, prompts(10))
        message = task.fail(
            AirflowFailException,
            "^FluxInsufficientCreditsError: The rows to submit are expected to cost",
        )
        assert "40 credits ($0.40), and the account has 39" in message
        assert server.stats()["submits"] == 0

    def test_reported_costs_count_against_max_cost_instead_of_estimates(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The price list is older than the service: it estimates 2 credits, and BFL reports 3."""
        from airflow_provider_flux.batch import row_states, row_store

        for module in (row_states, row_store):
            monkeypatch.setattr(module, "estimate_cost", lambda request: Estimate(2.0))
        task = batch(tmp_path, prompts(12), model="flux-2-pro", max_cost=30, max_active=1)
        task.fail(
            AirflowFailException,
            "^FluxBudgetError: max_cost=30 credits is reached: 30 are spent, and row '10'",
        )
        assert task.counts() == {"landed": 10, "pending": 2}
        assert task.summary
        assert (task.summary["credits"], task.summary["credits_reported"]) == (30, 30)
        task.fail(
            AirflowFailException,
            "and 30 credits were spent by earlier tries, more than max_cost=30",
        )
        summary = task.cleared().retry(max_cost=36)
        assert (summary["landed"], summary["credits"], summary["credits_reported"]) == (12, 36, 36)
        assert emulator.stats()["submits"] == 12

    def test_a_batch_that_reaches_max_cost_leaves_its_other_rows_pending(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """A lost answer counts as billed, and nothing expects it."""
        rows = [*prompts(2, "submit-lost"), *prompts(10, start=2)]
        task = batch(
            tmp_path, rows, max_cost=48, on_uncertain="resubmit", max_failed=None, max_active=2
        )
        message = task.fail(
            AirflowFailException, "^FluxBudgetError: max_cost=48 credits is reached"
        )
        assert "Raise max_cost and clear the task" in message
        counts = task.counts()
        assert counts["pending"] > 0
        assert task.summary
        assert task.summary["credits"] <= 48
        assert (
            counts.get("landed", 0)
            == emulator.stats()["submits"] - task.summary["uncertain_submits"]
        )
        before = emulator.stats()["submits"]
        summary = task.cleared().retry(max_cost=200, requests=prompts(12))
        assert summary["landed"] == 12
        assert emulator.stats()["submits"] == before + 12 - counts.get("landed", 0)

    def test_a_batch_ends_when_another_client_spends_the_credits(
        self, emulated: Callable[..., EmulatorServer], connect: Connect, tmp_path: Path
    ) -> None:
        server = emulated(credits=100)
        task = batch(tmp_path, prompts(20, "slow=0.3"), max_active=4)

        def spend() -> None:
            wait_until(lambda: server.stats()["submits"] >= 4)
            for _ in range(12):
                submit_as_another_client(server, model="flux-pro-1.1-ultra")

        with meanwhile(spend):
            message = task.fail(AirflowFailException, "^FluxInsufficientCreditsError")
        assert "402" in message
        counts = task.counts()
        assert set(counts) == {"landed", "pending"}
        assert counts["landed"] >= 4
        assert (
            len([entry for entry in task.entries() if entry["phase"] == "returned"])
            == counts["landed"]
        )
        assert all(row["reason"] is None for row in task.manifest())
        connect(server.url, "bfl_another_account")
        assert task.cleared().retry()["landed"] == 20
        assert server.stats()["submits_per_model"]["flux-pro-1.1"] == 20

    def test_earlier_submits_land_even_if_the_balance_is_too_low_for_more(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(credits=60)
        task = batch(tmp_path, prompts(12, "slow=1"), max_active=4, grace=0)
        with meanwhile(stop_after(server, task, 4)):
            task.fail(FluxBatchError)
        for _ in range(3):
            submit_as_another_client(server, model="flux-pro-1.1-ultra")
        task.fail(AirflowFailException, "^FluxInsufficientCreditsError: .*the account has 26")
        assert task.counts() == {"landed": 4, "pending": 8}
        assert server.stats()["submits_per_model"]["flux-pro-1.1"] == 4
        task.fail(AirflowFailException, "^FluxBudgetError", max_cost=20)
        assert task.counts() == {"landed": 4, "pending": 8}

    def test_earlier_submits_land_even_if_max_cost_is_too_low_for_more(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = prompts(12, "slow=1")
        task = batch(tmp_path, rows, max_active=12, grace=0)
        with meanwhile(stop_after(emulator, task, 12)):
            task.fail(FluxBatchError)
        more = [*rows, "one more"]
        task.fail(
            AirflowFailException, "^FluxBudgetError", requests=more, max_active=1, max_cost=50
        )
        assert task.counts() == {"landed": 12, "pending": 1}

    @pytest.mark.parametrize(("key", "status"), [("bfl_revoked_1234567", 403), ("nonsense", 422)])
    def test_a_refused_api_key_fails_the_batch_before_it_submits(
        self, emulator: EmulatorServer, connect: Connect, tmp_path: Path, key: str, status: int
    ) -> None:
        connect(emulator.url, key)
        task = batch(tmp_path, prompts(5))
        message = task.fail(
            AirflowFailException, "^FluxAuthenticationError: BFL refused the API key"
        )
        assert str(status) in message
        assert emulator.stats()["submits"] == 0

    def test_an_api_key_that_is_refused_later_stops_the_submits(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [*prompts(1, "poll-403"), *prompts(29, start=1)]
        task = batch(tmp_path, rows, max_active=4)
        task.fail(AirflowFailException, "^FluxAuthenticationError: BFL refused the API key")
        submits = emulator.stats()["submits"]
        assert submits < 30
        assert task.counts() == {"submitted": 1, "landed": submits - 1, "pending": 30 - submits}
        assert "A retry, or `airflow flux recover`, lands it" in task.manifest()[0]["reason"]

    def test_credits_that_earlier_tries_spent_count_against_max_cost(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(5), model="flux-2-pro")
        task.retry()
        message = task.fail(
            AirflowFailException, "FluxBudgetError", requests=prompts(10), max_cost=29
        )
        assert "15 credits were spent by earlier tries" in message
        summary = task.retry(max_cost=30)
        assert (summary["credits"], summary["credits_reported"], summary["credits_expected"]) == (
            30,
            30,
            15,
        )


class TestTrouble:
    def test_a_batch_shares_its_quota_with_another_client(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(max_active=8)
        for number in range(4):
            submit_as_another_client(server, f"theirs {number} [[fault:held]]")
        task = batch(tmp_path, prompts(24, "held"), max_active=8)
        with meanwhile(release_when(server, lambda: server.stats()["refused"], submits=28)):
            summary = task.retry()
        stats = server.stats()
        assert (summary["landed"], stats["submits"]) == (24, 28)
        assert summary["rate_limited"] == stats["refused"] > 0
        assert summary["uncertain_submits"] == 0
        assert task.retry()["landed"] == 24
        assert server.stats()["submits"] == 28
        assert not task.summary or task.summary["uncertain_submits"] == 0

    def test_a_rate_limited_row_is_submitted_again_after_retry_after(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(3, "rate-limit=1,0.1"))
        summary = task.retry()
        assert (summary["landed"], summary["rate_limited"], emulator.stats()["submits"]) == (
            3,
            3,
            3,
        )

    def test_a_batch_waits_for_a_service_that_cannot_be_reached(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(latency=0.1)
        port = int(server.url.rpartition(":")[2])
        server.stop()
        back = EmulatorServer(EmulatorConfig(latency=0.1, port=port))

        def start() -> None:
            time.sleep(1.0)
            back.start()

        task = batch(tmp_path, prompts(12))
        try:
            with meanwhile(start):
                summary = task.retry()
            assert (summary["landed"], back.stats()["submits"]) == (12, 12)
            assert summary["uncertain_submits"] == 0
        finally:
            back.stop()

    def test_a_burst_of_503_leaves_most_rows_pending(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(latency=0.1, faults=["submit-503"])
        task = batch(tmp_path, prompts(100))
        with pytest.raises((AirflowFailException, FluxBatchError)):
            task.retry()
        counts = task.counts()
        assert counts["uncertain"] <= 12
        assert counts["pending"] == 100 - counts["uncertain"]
        assert server.stats()["refused"] == counts["uncertain"]

    def test_rows_land_although_their_polls_and_downloads_fail_at_first(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        faults = [
            "poll-500=2",
            "poll-reset",
            "poll-html",
            "truncate",
            "reset=2",
            "cut",
            "expired",
            "deliver-503",
        ]
        faults += ["not-found", "unknown-status", "state-key", "poll-429=1,0.1"]
        task = batch(tmp_path, [f"fox [[fault:{fault}]]" for fault in faults])
        assert task.retry()["landed"] == emulator.stats()["submits"] == len(faults)

    def test_a_row_lands_after_its_delivery_failed_for_a_while(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(6, "deliver-503=8"))
        summary = task.retry()
        assert summary["landed"] == emulator.stats()["submits"] == 6
        assert (summary["credits"], summary["credits_wasted"]) == (24, 0)

    def test_an_outage_of_the_delivery_holds_submits_back(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(60, "deliver-503=20"), max_active=4, on_change="resume")
        task.fail(FluxServiceError)
        submits = emulator.stats()["submits"]
        assert 3 <= submits <= 3 * 4 + 1
        assert task.counts() == {"submitted": submits, "pending": 60 - submits}
        left = [row for row in task.manifest() if row["outcome"] == "submitted"]
        assert all("A retry, or `airflow flux recover`, lands it" in row["reason"] for row in left)
        assert task.summary
        assert (task.summary["credits"], task.summary["credits_wasted"]) == (4 * submits, 0)
        summary = task.retry(requests=prompts(60))
        assert summary["landed"] == emulator.stats()["submits"] == 60
        assert (summary["credits"], summary["credits_wasted"]) == (240, 0)

    def test_a_submit_whose_answer_was_lost_keeps_its_slot(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        """BFL may have accepted it. A submit in its place would be refused."""
        server = emulated(latency=0.3, max_active=4, faults=["submit-503-made@10%"], seed=7)
        task = batch(tmp_path, prompts(60), max_active=4, on_uncertain="resubmit", max_failed=None)
        summary = task.retry()
        lost = summary["uncertain_submits"]
        assert lost >= 3
        assert summary["landed"] + summary["uncertain"] == 60
        assert server.stats()["submits"] == summary["landed"] + lost
        assert summary["rate_limited"] <= lost // 2

    def test_a_row_is_submitted_at_most_three_times_in_a_try(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(1, "submit-lost"), on_uncertain="resubmit")
        for times in (1, 2):
            task.fail(AirflowFailException, "1 of 1 rows have no image")
            assert (
                emulator.stats()["submits"] == task.manifest()[0]["uncertain_submits"] == 3 * times
            )
            assert task.summary
            assert task.summary["credits_wasted"] == 12 * times

    def test_a_retry_resumes_a_row_that_timed_out(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, ["a hare", "slow [[fault:slow=1.8]]"], timeout=1)
        task.fail(FluxBatchError, "1 submitted")
        assert "A retry, or `airflow flux recover`, lands it" in task.manifest()[1]["reason"]
        assert task.manifest()[1]["cost"] == 4
        time.sleep(0.8)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 2

    def test_a_missing_input_fails_its_row_only(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        (tmp_path / "in").mkdir()
        for number in (0, 1, 3):
            (tmp_path / "in" / f"{number}.png").write_bytes(make_image(shade=number))
        rows = [
            {"prompt": f"fox {n}", "input_image": f"file://{tmp_path}/in/{n}.png"} for n in range(5)
        ]
        (tmp_path / "in" / "4.png").write_bytes(b"no image")
        task = batch(tmp_path, rows, model="flux-2-pro")
        task.fail(FluxBatchError, r"2 of 5 rows have no image")
        assert task.outcomes() == ["landed", "landed", "failed", "landed", "invalid"]
        assert "in/2.png" in task.manifest()[2]["reason"]
        assert emulator.stats()["submits"] == 3
        assert (
            len({row["fingerprint"] for row in task.manifest() if row["outcome"] == "landed"}) == 3
        )
        for number in (2, 4):
            (tmp_path / "in" / f"{number}.png").write_bytes(make_image(shade=number))
        assert task.retry()["landed"] == emulator.stats()["submits"] == 5


class TestDefects:
    """Errors that the batch does not expect: a full disk, a defect."""

    def test_a_full_disk_ends_the_batch_with_every_submit_recorded(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        update, writes = RowStore._update, list[str]()

        def full(self: RowStore, row: PendingRow | SubmittedRow, *facts: Any, **more: Any) -> None:
            writes.append(row.key)
            if len(writes) > 20:
                raise sqlite3.OperationalError("database or disk is full")
            update(self, row, *facts, **more)

        task = batch(tmp_path, prompts(40, "slow=0.3"), max_active=4)
        with monkeypatch.context() as patch:
            patch.setattr(RowStore, "_update", full)
            task.fail(FluxBatchError, "OperationalError at row .*: see the log")
        submits = emulator.stats()["submits"]
        assert 10 <= submits < 40
        phases = Counter(entry["phase"] for entry in task.entries())
        assert phases["intent"] == phases["submitted"] + phases["failed"]
        assert phases["submitted"] == submits
        assert task.summary
        assert task.summary["credits"] == 4 * submits
        summary = task.retry()
        assert summary["landed"] == emulator.stats()["submits"] == 40
        assert (summary["uncertain_submits"], summary["credits"]) == (0, 160)

    def test_a_defect_ends_the_batch_with_every_unsent_intent_recorded(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The intents become durable, so the journal must say that nothing was sent."""
        from airflow_provider_flux.ledger import journal

        start, put, raised = EngineLoop._start_submits, journal.put, list[int]()

        def fails(self: EngineLoop) -> None:
            waiting = self._context.journal._waiting
            if self._context.counters.submits >= 8 and waiting:
                raised.append(len(waiting))
                raise RuntimeError("a bug")
            start(self)

        async def slow(*arguments: Any) -> None:
            await pause(0.3)
            await put(*arguments)

        task = batch(tmp_path, prompts(40), max_active=4)
        with monkeypatch.context() as patch:
            patch.setattr(EngineLoop, "_start_submits", fails)
            patch.setattr(journal, "put", slow)
            with pytest.raises(RuntimeError, match="a bug"):
                task.retry()
        assert raised
        submits = emulator.stats()["submits"]
        assert 8 <= submits < 40
        assert not [
            thread for thread in threading.enumerate() if thread.name.startswith("flux-batch")
        ]
        phases = Counter(entry["phase"] for entry in task.entries())
        assert phases["submitted"] == submits
        assert phases["intent"] == phases["submitted"] + phases["failed"]
        summary = task.retry()
        assert summary["landed"] == emulator.stats()["submits"] == 40
        assert summary["uncertain_submits"] == 0


def active(emulator: EmulatorServer) -> int:
    """Return the number of active generations."""
    count: int = emulator.stats()["active"]
    return count


class TestQuota:
    def test_a_model_with_a_small_limit_uses_all_of_it(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        emulator = emulated(image_bytes=10_000)
        rows = [{"prompt": f"fox {n} [[fault:held]]"} for n in range(12)]
        task = batch(tmp_path, rows, model="flux-kontext-max", defaults={})
        with meanwhile(release_when(emulator, lambda: active(emulator) == 6, submits=12)):
            summary = task.retry()
        stats = emulator.stats()
        assert (summary["landed"], stats["max_active"], stats["refused"]) == (12, 6, 0)

    def test_mixed_models_use_the_quota_of_each_model(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        emulator = emulated(image_bytes=10_000)
        models = ["flux-kontext-max"] * 12 + ["flux-kontext-pro"] * 28
        rows = [
            {"prompt": f"fox {n} [[fault:held]]", "model": model} for n, model in enumerate(models)
        ]
        task = batch(tmp_path, rows, defaults={})
        with meanwhile(release_when(emulator, lambda: active(emulator) == 24, submits=40)):
            summary = task.retry()
        stats = emulator.stats()
        assert (summary["landed"], stats["refused"], stats["max_active"]) == (40, 0, 24)

    def test_max_active_and_model_limits_bound_the_active_generations(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [
            {
                "prompt": f"fox {n} [[fault:held]]",
                "model": "flux-2-pro" if n % 2 else "flux-pro-1.1",
            }
            for n in range(24)
        ]
        task = batch(tmp_path, rows, max_active=7, model_limits={"flux-2-pro": 2})
        with meanwhile(release_when(emulator, lambda: active(emulator) == 7, submits=24)):
            assert task.retry()["landed"] == 24
        assert emulator.stats()["max_active"] == 7
        running = most = 0
        tasks = [task for task in emulator.timeline()["tasks"] if task["model"] == "flux-2-pro"]
        events = [(task["submitted_at"], 1) for task in tasks]
        events += [(task["ends_at"] or 0, -1) for task in tasks]
        for _, change in sorted(events):
            running += change
            most = max(most, running)
        assert most == 2

    def test_resumed_rows_do_not_distort_the_quota_share(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """An earlier try submitted them, and this try knows a part of their time only."""
        left = [f"{prompt} [[fault:poll-500=4]]" for prompt in prompts(4, "slow=1")]
        task = batch(tmp_path, [*left, *prompts(24, "slow=1.5", start=4)], max_active=4, grace=0)
        with meanwhile(stop_after(emulator, task, 4)):
            task.fail(FluxBatchError)
        time.sleep(3)
        share = task.retry(max_active=8)["quota_share"]
        assert 0.4 < share <= 1

    def test_the_connection_limits_active_generations_by_default(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(extra={"max_active": 3})
        assert batch(tmp_path, prompts(12)).retry()["landed"] == 12
        assert server.stats()["max_active"] == 3
