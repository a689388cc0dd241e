"""Many rows at once: what is stopped, refused, lost or out of money, and what the next try makes of it."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_flux.batch.execution.engine import EngineLoop
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxServiceError
from airflow_provider_flux.bfl.pricing import Estimate
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.conftest import KEY
from tests.support.batch_tries import SMALL, Batch, batch, prompts, quick
from tests.support.sample_media import picture

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
Connect = Callable[..., None]


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread while a batch works."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
        assert not thread.is_alive()


def submit(
    server: EmulatorServer,
    prompt: str = "somebody else",
    key: str = KEY,
    model: str = "flux-pro-1.1",
) -> int:
    """Submit as another client of the same key does; return the HTTP status."""
    answer = requests.post(
        f"{server.url}/v1/{model}",
        json={"prompt": prompt, **SMALL},
        headers={"x-key": key},
        timeout=9,
    )
    return answer.status_code


def stop_after(server: EmulatorServer, task: Batch, count: int) -> Callable[[], None]:
    def act() -> None:
        until(lambda: server.stats()["submits"] >= count)
        time.sleep(0.3)  # the answers are on their way
        assert task.operator
        task.operator.on_kill()

    return act


def time_out_after(server: EmulatorServer, count: int) -> Callable[[], None]:
    """Raise in the main thread, as Airflow's execution_timeout does: from a signal handler, amid whatever it does."""

    def strike(*_: object) -> None:
        raise AirflowTaskTimeout("Timeout")

    def act() -> None:
        until(lambda: server.stats()["submits"] >= count)
        time.sleep(0.3)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, strike)
    return act


@pytest.fixture
def emulated(connect: Connect) -> Iterator[Callable[..., EmulatorServer]]:
    """Start an emulator of its own for the test, and a connection to it."""
    running: list[EmulatorServer] = []

    def start(**config: Any) -> EmulatorServer:
        extra = config.pop("extra", {})
        server = EmulatorServer(EmulatorConfig(**{"latency": 0.2, **config}))
        server.start()
        running.append(server)
        connect(server.url, **extra)
        return server

    yield start
    for server in running:
        server.stop()


class TestStop:
    def test_what_is_in_flight_lands_and_nothing_more_is_submitted(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(40, "slow=0.3"), max_active=8)
        with meanwhile(stop_after(emulator, task, 8)):
            task.fail(FluxBatchError, "The task was stopped. A retry resumes the batch.")
        paid = emulator.stats()["submits"]
        assert 8 <= paid < 40
        assert task.counts() == {"landed": paid, "pending": 40 - paid}
        assert task.summary
        assert (task.summary["landed"], task.summary["pending"]) == (paid, 40 - paid)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 40

    def test_what_does_not_land_in_time_is_collected_by_a_retry(
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

    def test_a_clear_collects_it_too_even_in_another_order(
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

    def test_execution_timeout(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        task = batch(tmp_path, prompts(40, "slow=0.4"), max_active=4, grace=3)
        with pytest.raises(AirflowTaskTimeout), meanwhile(time_out_after(emulator, 8)):
            task.retry()
        paid = emulator.stats()["submits"]
        assert 0 < paid < 40
        assert task.counts() == {"landed": paid, "pending": 40 - paid}
        assert not [one for one in threading.enumerate() if one.name.startswith("flux-batch")]

    def test_execution_timeout_while_nothing_lands_in_time(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = prompts(4, "slow=2.5")
        task = batch(tmp_path, rows, grace=0.1)
        with pytest.raises(AirflowTaskTimeout), meanwhile(time_out_after(emulator, 4)):
            task.retry()
        assert task.counts() == {"submitted": 4}
        time.sleep(2)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 4

    def test_a_timeout_stays_one_though_the_end_takes_long(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow_provider_flux.batch import run_loop
        from airflow_provider_flux.ledger import journal

        put = journal.put

        async def slow(*arguments: Any) -> None:
            await asyncio.sleep(0.25)
            await put(*arguments)

        monkeypatch.setattr(run_loop, "_END_SECONDS", 0.1)
        monkeypatch.setattr(journal, "put", slow)
        task = batch(tmp_path, prompts(4, "slow=2"), grace=0)
        with pytest.raises(AirflowTaskTimeout), meanwhile(time_out_after(emulator, 4)):
            task.retry()
        assert task.counts()["submitted"] > 0
        assert json.loads(task.segments()[0].read_text().splitlines()[0])["is_closed"]

    @pytest.mark.parametrize("fault", ["submit-hang=1.5", "slow=1.5"])
    def test_no_input_is_left_on_this_machine(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        (tmp_path / "in.png").write_bytes(picture())
        rows = [
            {"prompt": prompt, "input_image": f"file://{tmp_path}/in.png"}
            for prompt in prompts(30, fault)
        ]
        task = batch(tmp_path, rows, model="flux-2-pro", max_active=2, grace=0)
        with meanwhile(stop_after(emulator, task, 1)):
            task.fail(FluxBatchError)
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_before_anything_was_begun(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        task = batch(tmp_path, prompts(4))
        release = threading.Event()

        def rows() -> Iterator[str]:
            release.wait(10)
            yield from prompts(4)

        def act() -> None:
            until(lambda: task.operator is not None and task.operator._batch_run is not None)
            assert task.operator
            task.operator.on_kill()
            release.set()

        class Slow:
            def __iter__(self) -> Iterator[str]:
                return rows()

        with meanwhile(act):
            task.fail(FluxBatchError, "was stopped", requests=Slow())
        assert emulator.stats()["submits"] == 0
        assert task.counts() == {"pending": 4}

    def test_what_was_collected_is_described_as_it_was_submitted(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        (tmp_path / "in.png").write_bytes(picture())
        row = {"prompt": "a fox [[fault:slow=1]]", "input_image": f"{tmp_path}/in.png"}
        task = batch(tmp_path, [row], model="flux-2-pro", grace=0)
        with meanwhile(stop_after(emulator, task, 1)):
            task.fail(FluxBatchError)
        task.retry()
        (made,) = task.manifest()
        request = json.loads(Path(made["sidecar"]).read_text())["request"]
        assert request["fingerprint"] == made["fingerprint"]
        assert request["parameters"]["input_image"]["sha256"]

    def test_a_row_that_changed_while_it_was_in_flight(
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
    def test_what_cannot_fit_is_refused_at_once(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(10), max_cost=39)
        said = task.fail(
            AirflowFailException,
            "^FluxBudgetError: The rows to submit are expected to cost 40 credits",
        )
        assert "max_cost=39" in said
        assert emulator.stats()["submits"] == 0
        assert task.retry(max_cost=40)["landed"] == 10

    def test_what_the_account_cannot_pay_is_refused_at_once(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(credits=39)
        task = batch(tmp_path, prompts(10))
        said = task.fail(
            AirflowFailException,
            "^FluxInsufficientCreditsError: The rows to submit are expected to cost",
        )
        assert "40 credits ($0.40), and the account has 39" in said
        assert server.stats()["submits"] == 0

    def test_reported_costs_count(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The price list of this version is older than the prices of the service: 2 credits are expected, 3 come."""

        from airflow_provider_flux.batch import row_states, row_store

        for module in (row_states, row_store):
            monkeypatch.setattr(module, "estimate_cost", lambda request: Estimate(2.0))
        task = batch(tmp_path, prompts(12), model="flux-2-pro", max_cost=30, max_active=1)
        task.fail(
            AirflowFailException,
            "^FluxBudgetError: max_cost=30 credits is reached: 30 are spent, and row 10",
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

    def test_reaching_max_cost_leaves_the_rest_to_be_resumed(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """The second answer that was lost counts as billed, which was not expected before."""
        rows = [*prompts(2, "submit-lost"), *prompts(10, start=2)]
        task = batch(
            tmp_path, rows, max_cost=48, on_uncertain="resubmit", max_failed=None, max_active=2
        )
        said = task.fail(AirflowFailException, "^FluxBudgetError: max_cost=48 credits is reached")
        assert "Raise max_cost and clear the task" in said
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

    def test_credits_that_somebody_else_spends(
        self, emulated: Callable[..., EmulatorServer], connect: Connect, tmp_path: Path
    ) -> None:
        server = emulated(credits=100)
        task = batch(tmp_path, prompts(20, "slow=0.3"), max_active=4)

        def spend() -> None:
            until(lambda: server.stats()["submits"] >= 4)
            for _ in range(12):
                submit(server, model="flux-pro-1.1-ultra")

        with meanwhile(spend):
            said = task.fail(AirflowFailException, "^FluxInsufficientCreditsError")
        assert "402" in said
        counts = task.counts()
        assert set(counts) == {"landed", "pending"}
        assert counts["landed"] >= 4
        assert (
            len([note for note in task.notes() if note["phase"] == "returned"]) == counts["landed"]
        )
        assert all(row["reason"] is None for row in task.manifest())
        connect(server.url, "bfl_another_account")
        assert task.cleared().retry()["landed"] == 20
        assert server.stats()["submits_per_model"]["flux-pro-1.1"] == 20

    def test_what_is_paid_for_is_collected_though_nothing_more_can_be_paid(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(credits=60)
        task = batch(tmp_path, prompts(12, "slow=1"), max_active=4, grace=0)
        with meanwhile(stop_after(server, task, 4)):
            task.fail(FluxBatchError)
        for _ in range(3):
            submit(server, model="flux-pro-1.1-ultra")
        task.fail(AirflowFailException, "^FluxInsufficientCreditsError: .*the account has 26")
        assert task.counts() == {"landed": 4, "pending": 8}
        assert server.stats()["submits_per_model"]["flux-pro-1.1"] == 4
        task.fail(AirflowFailException, "^FluxBudgetError", max_cost=20)
        assert task.counts() == {"landed": 4, "pending": 8}

    def test_what_is_paid_for_is_collected_when_max_cost_is_reached(
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
    def test_a_key_that_is_refused(
        self, emulator: EmulatorServer, connect: Connect, tmp_path: Path, key: str, status: int
    ) -> None:
        connect(emulator.url, key)
        task = batch(tmp_path, prompts(5))
        said = task.fail(AirflowFailException, "^FluxAuthenticationError: BFL refused the API key")
        assert str(status) in said
        assert emulator.stats()["submits"] == 0

    def test_a_key_that_is_refused_in_the_middle(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [*prompts(1, "poll-403"), *prompts(29, start=1)]
        task = batch(tmp_path, rows, max_active=4)
        task.fail(AirflowFailException, "^FluxAuthenticationError: BFL refused the API key")
        paid = emulator.stats()["submits"]
        assert paid < 30
        assert task.counts() == {"submitted": 1, "landed": paid - 1, "pending": 30 - paid}
        assert "a retry, or `airflow flux recover`, resumes it" in task.manifest()[0]["reason"]

    def test_what_earlier_tries_have_spent_counts(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(5), model="flux-2-pro")
        task.retry()
        said = task.fail(AirflowFailException, "FluxBudgetError", requests=prompts(10), max_cost=29)
        assert "15 credits were spent by earlier tries" in said
        summary = task.retry(max_cost=30)
        assert (summary["credits"], summary["credits_reported"], summary["credits_expected"]) == (
            30,
            30,
            15,
        )


class TestTrouble:
    def test_somebody_else_takes_part_of_the_quota(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(max_active=8)
        for number in range(4):
            submit(server, f"theirs {number} [[fault:slow=3]]")
        task = batch(tmp_path, prompts(24), max_active=8)
        summary = task.retry()
        stats = server.stats()
        assert (summary["landed"], stats["submits"]) == (24, 28)
        assert summary["rate_limited"] == stats["refused"] > 0
        assert summary["uncertain_submits"] == 0
        assert task.retry()["landed"] == 24
        assert server.stats()["submits"] == 28
        assert not task.summary or task.summary["uncertain_submits"] == 0

    def test_refusals_by_the_minute(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        task = batch(tmp_path, prompts(3, "rate-limit=1,0.1"))
        summary = task.retry()
        assert (summary["landed"], summary["rate_limited"], emulator.stats()["submits"]) == (
            3,
            3,
            3,
        )

    def test_a_service_that_cannot_be_reached(
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

    def test_a_burst_of_503_does_not_burn_the_rows(
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

    def test_polls_and_downloads_in_trouble(self, emulator: EmulatorServer, tmp_path: Path) -> None:
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

    def test_a_delivery_that_fails_for_a_while_is_waited_for(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(6, "deliver-503=8"))
        summary = task.retry()
        assert summary["landed"] == emulator.stats()["submits"] == 6
        assert (summary["credits"], summary["credits_wasted"]) == (24, 0)

    def test_a_delivery_that_is_out_holds_the_submits_back(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(60, "deliver-503=20"), max_active=4, on_change="resume")
        task.fail(FluxServiceError)
        paid = emulator.stats()["submits"]
        assert 3 <= paid <= 3 * 4 + 1
        assert task.counts() == {"submitted": paid, "pending": 60 - paid}
        left = [row for row in task.manifest() if row["outcome"] == "submitted"]
        assert all(
            "a retry, or `airflow flux recover`, resumes it" in row["reason"] for row in left
        )
        assert task.summary
        assert (task.summary["credits"], task.summary["credits_wasted"]) == (4 * paid, 0)
        summary = task.retry(requests=prompts(60))
        assert summary["landed"] == emulator.stats()["submits"] == 60
        assert (summary["credits"], summary["credits_wasted"]) == (240, 0)

    def test_an_answer_that_was_lost_keeps_its_slot(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        """Its task is active, though nobody knows of it: a submit in its place would be refused."""
        server = emulated(latency=0.3, max_active=4, faults=["submit-503-made@10%"], seed=7)
        task = batch(tmp_path, prompts(60), max_active=4, on_uncertain="resubmit", max_failed=None)
        summary = task.retry()
        lost = summary["uncertain_submits"]
        assert lost >= 3
        assert summary["landed"] + summary["uncertain"] == 60
        assert server.stats()["submits"] == summary["landed"] + lost
        assert summary["rate_limited"] <= lost // 2

    def test_a_row_is_submitted_three_times_in_a_try_at_most(
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

    def test_a_generation_that_takes_too_long_is_collected_later(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, ["a hare", "slow [[fault:slow=1.8]]"], timeout=1)
        task.fail(FluxBatchError, "1 submitted")
        assert (
            "It is paid for: a retry, or `airflow flux recover`, resumes it"
            in task.manifest()[1]["reason"]
        )
        assert task.manifest()[1]["cost"] == 4
        time.sleep(0.8)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 2

    def test_a_missing_input_fails_its_row_only(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        (tmp_path / "in").mkdir()
        for number in (0, 1, 3):
            (tmp_path / "in" / f"{number}.png").write_bytes(picture(shade=number))
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
            (tmp_path / "in" / f"{number}.png").write_bytes(picture(shade=number))
        assert task.retry()["landed"] == emulator.stats()["submits"] == 5


class TestDefects:
    """What nobody has thought of: a full disk, a bug."""

    def test_the_table_cannot_be_written(
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
        paid = emulator.stats()["submits"]
        assert 10 <= paid < 40
        phases = Counter(note["phase"] for note in task.notes())
        assert (
            phases["intent"] == phases["submitted"] + phases["failed"]
        )  # all that was paid is on record
        assert phases["submitted"] == paid
        assert task.summary
        assert task.summary["credits"] == 4 * paid
        summary = task.retry()
        assert summary["landed"] == emulator.stats()["submits"] == 40
        assert (summary["uncertain_submits"], summary["credits"]) == (0, 160)

    def test_a_bug_while_intents_are_on_their_way(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They get durable, and it must be written down that nothing was sent."""
        from airflow_provider_flux.ledger import journal

        start, put, raised = EngineLoop._start_submits, journal.put, list[int]()

        def fails(self: EngineLoop) -> None:
            waiting = self._context.journal._waiting
            if self._context.counters.submits >= 8 and waiting:
                raised.append(len(waiting))
                raise RuntimeError("a bug")
            start(self)

        async def slow(*arguments: Any) -> None:
            await asyncio.sleep(0.3)
            await put(*arguments)

        task = batch(tmp_path, prompts(40), max_active=4)
        with monkeypatch.context() as patch:
            patch.setattr(EngineLoop, "_start_submits", fails)
            patch.setattr(journal, "put", slow)
            with pytest.raises(RuntimeError, match="a bug"):
                task.retry()
        assert raised
        paid = emulator.stats()["submits"]
        assert 8 <= paid < 40
        assert not [one for one in threading.enumerate() if one.name.startswith("flux-batch")]
        phases = Counter(note["phase"] for note in task.notes())
        assert phases["submitted"] == paid
        assert phases["intent"] == phases["submitted"] + phases["failed"]
        summary = task.retry()
        assert summary["landed"] == emulator.stats()["submits"] == 40
        assert summary["uncertain_submits"] == 0


class TestQuota:
    def test_a_model_with_a_small_limit(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        emulator = emulated(latency=1.0, image_bytes=10_000)
        rows = [{"prompt": f"fox {n}"} for n in range(12)]
        task = batch(tmp_path, rows, model="flux-kontext-max", defaults={})
        summary = task.retry()
        stats = emulator.stats()
        assert (summary["landed"], stats["max_active"], stats["refused"]) == (12, 6, 0)

    def test_mixed_models_use_the_quota_of_both(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        emulator = emulated(latency=1.2, image_bytes=10_000)
        rows = [
            {"prompt": f"fox {n}", "model": "flux-kontext-max" if n < 12 else "flux-kontext-pro"}
            for n in range(40)
        ]
        task = batch(tmp_path, rows, defaults={})
        summary = task.retry()
        stats = emulator.stats()
        assert (summary["landed"], stats["refused"]) == (40, 0)
        assert stats["max_active"] > 12

    def test_max_active(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        rows = [
            {"prompt": f"fox {n}", "model": "flux-2-pro" if n % 2 else "flux-pro-1.1"}
            for n in range(24)
        ]
        assert (
            batch(tmp_path, rows, max_active=7, model_limits={"flux-2-pro": 2}).retry()["landed"]
            == 24
        )
        assert emulator.stats()["max_active"] <= 7
        active = most = 0
        tasks = [one for one in emulator.timeline()["tasks"] if one["model"] == "flux-2-pro"]
        events = [(one["submitted_at"], 1) for one in tasks] + [
            (one["ends_at"] or 0, -1) for one in tasks
        ]
        for _, change in sorted(events):
            active += change
            most = max(most, active)
        assert most == 2

    def test_what_an_earlier_try_has_left_says_nothing_of_the_quota(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """It was submitted long ago, and this try has been there for a part of that time only."""
        left = [f"{prompt} [[fault:poll-500=4]]" for prompt in prompts(4, "slow=1")]
        task = batch(tmp_path, [*left, *prompts(24, "slow=0.3", start=4)], max_active=4, grace=0)
        with meanwhile(stop_after(emulator, task, 4)):
            task.fail(FluxBatchError)
        time.sleep(3)
        share = task.retry(max_active=8)["quota_share"]
        assert 0.4 < share <= 1

    def test_the_limit_of_the_connection(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        server = emulated(extra={"max_active": 3})
        assert batch(tmp_path, prompts(12)).retry()["landed"] == 12
        assert server.stats()["max_active"] == 3
