"""Submits whose answer was lost are settled only by evidence that allows one explanation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.utils.db import initdb

from airflow_provider_flux.accounting.charges import Charge, read_charges
from airflow_provider_flux.accounting.reconcile.account import AccountReport, reconcile_account
from airflow_provider_flux.accounting.reconcile.balance import Tolerances, reconcile_balance
from airflow_provider_flux.accounting.reconcile.settle import (
    Evidence,
    Verdict,
    judge,
    judge_lost,
)
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.accounting.reconcile.test_balance import charge, reading
from tests.support.batch_tries import Batch, batch, emulated, quick
from tests.support.task_tries import Task

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")

AT_ONCE = Tolerances(clocks=0, answer=0)
ONE = Evidence(change=0.0, amounts=(4.0,))


class TestRules:
    """The truth table of ``judge``, which docs/ledger.md shows."""

    @pytest.mark.parametrize(
        ("evidence", "verdict"),
        [
            (Evidence(0.0, (4.0,)), "not charged"),
            (Evidence(4.0, (4.0,)), "charged"),
            (Evidence(0.0, (4.0, 3.0)), "not charged"),
            (Evidence(7.0, (4.0, 3.0)), "charged"),
            (Evidence(0.3, (0.1, 0.2)), "charged"),
            (Evidence(4.0, (4.0, 3.0)), "uncertain"),
            (Evidence(3.9, (4.0,)), "uncertain"),
            (Evidence(-4.0, (4.0,)), "uncertain"),
            (Evidence(0.0, (None,)), "not charged"),
            (Evidence(4.0, (None,)), "uncertain"),
            (Evidence(4.0, (4.0, None)), "uncertain"),
            (Evidence(0.0, (0.0,)), "uncertain"),
            (Evidence(0.0, ()), "uncertain"),
        ],
    )
    def test_the_balance_proves_a_verdict_only_if_its_change_has_one_explanation(
        self, evidence: Evidence, verdict: Verdict
    ) -> None:
        assert judge(evidence) == verdict

    @pytest.mark.parametrize("change", [0.0, 4.0])
    @pytest.mark.parametrize(
        "doubt",
        [
            {"is_settled": False},
            {"has_refunds": True},
            {"has_estimates": True},
            {"has_others": True},
        ],
    )
    def test_any_doubt_leaves_a_submit_uncertain(
        self, change: float, doubt: dict[str, bool]
    ) -> None:
        assert judge(replace(ONE, change=change, **doubt)) == "uncertain"  # type: ignore[arg-type]


def verdict_of(balances: dict[float, float], *charges: Charge) -> Verdict | None:
    """Return the verdict about lost submits of which each has the same one."""
    readings = [reading(seconds, credits_) for seconds, credits_ in balances.items()]
    numbered = [replace(item, claim=str(number)) for number, item in enumerate(charges)]
    result = reconcile_balance(readings, numbered)
    verdicts = set(judge_lost(readings, numbered, result).values())
    assert len(verdicts) < 2
    return verdicts.pop() if verdicts else None


class TestEvidence:
    lost = charge(1000, "uncertain")

    def test_two_readings_around_a_lone_submit_settle_it(self) -> None:
        assert verdict_of({0: 100, 2000: 100}, self.lost) == "not charged"
        assert verdict_of({0: 100, 2000: 96}, self.lost) == "charged"

    def test_known_submits_with_a_reported_cost_are_no_doubt(self) -> None:
        known = charge(900)
        assert verdict_of({0: 100, 2000: 96}, self.lost, known) == "not charged"
        assert verdict_of({0: 100, 2000: 92}, self.lost, known) == "charged"

    def test_a_cost_of_the_price_list_is_a_doubt(self) -> None:
        known = replace(charge(900), is_reported=False)
        assert verdict_of({0: 100, 2000: 96}, self.lost, known) == "uncertain"

    def test_a_refund_is_a_doubt(self) -> None:
        assert verdict_of({0: 100, 2000: 100}, self.lost, charge(900, "failed")) == "uncertain"

    @pytest.mark.parametrize("seconds", [-0.5, 1999.5])
    def test_a_submit_in_flight_at_a_reading_is_a_doubt(self, seconds: float) -> None:
        balances = {0.0: 100.0, 2000.0: 100.0}
        assert verdict_of(balances, self.lost, charge(seconds)) == "uncertain"

    def test_a_lost_submit_shortly_before_the_first_reading_is_a_doubt(self) -> None:
        earlier = charge(-100, "uncertain")
        assert verdict_of({0: 100, 2000: 96}, self.lost, earlier) == "uncertain"

    def test_somebody_else_on_the_key_is_a_doubt_for_a_day(self) -> None:
        day = 86400.0
        quiet = {0.0: 100.0, 2000.0: 100.0}
        assert verdict_of({-day - 9: 103, -day - 5: 100, **quiet}, self.lost) == "not charged"
        assert verdict_of({-500: 103, -400: 100, **quiet}, self.lost) == "uncertain"
        assert verdict_of({**quiet, 3000: 99}, self.lost) == "uncertain"
        assert verdict_of({**quiet, 3000: 150}, self.lost) == "uncertain"

    def test_a_reading_before_the_service_had_its_time_settles_nothing(self) -> None:
        assert verdict_of({0: 100, 1300: 100}, self.lost) is None
        assert verdict_of({0: 100, 1300: 100, 1700: 96}, self.lost) == "charged"

    def test_submits_between_the_same_readings_have_one_verdict(self) -> None:
        other = charge(1100, "uncertain", 3.0)
        assert verdict_of({0: 100, 2000: 93}, self.lost, other) == "charged"
        assert verdict_of({0: 100, 2000: 97}, self.lost, other) == "uncertain"


@pytest.fixture
def emulator(emulated: Callable[..., EmulatorServer], tmp_path: Path) -> EmulatorServer:
    initdb()
    return emulated(extra={"account_path": f"{tmp_path}/account"}, latency=0.05)


def settle(folder: Path) -> AccountReport:
    return reconcile_account(FluxHook(), [str(folder)], settle=True, tolerances=AT_ONCE)


def lose(folder: Path, fault: str) -> Batch:
    """Return a batch of two rows; the answer to the submit of the second one was lost."""
    rows = [{"key": "a", "prompt": "fox"}, {"key": "b", "prompt": f"owl [[fault:{fault}]]"}]
    task = batch(folder, rows, model="flux-2-pro", max_failed=1)
    assert task.retry()["uncertain"] == 1
    return task


class TestBatches:
    def test_a_row_that_was_not_charged_is_submitted_again_and_paid_once(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = lose(tmp_path, "submit-500")
        (lost,) = settle(tmp_path / "out").lost
        assert (lost.verdict, lost.is_written) == ("not charged", True)
        rows = [{"key": "a", "prompt": "fox"}, {"key": "b", "prompt": "owl"}]
        summary = task.retry(requests=rows, max_failed=0)
        assert (summary["landed"], summary["uncertain_submits"]) == (2, 0)
        assert emulator.stats()["credits_spent"] == summary["credits"] == 6
        assert settle(tmp_path / "out").lost == ()

    def test_a_row_that_was_charged_is_not_submitted_again(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = lose(tmp_path, "submit-lost")
        (lost,) = settle(tmp_path / "out").lost
        assert (lost.verdict, lost.is_written) == ("charged", True)
        assert task.retry()["credits"] == 6
        assert "proves that BFL charged it" in task.manifest()[1]["reason"]
        assert emulator.stats()["submits"] == 2
        outcomes = {item.key: item.outcome for item in read_charges([str(tmp_path)])}
        assert outcomes == {"a": "landed", "b": "lost"}
        report = settle(tmp_path / "out")
        assert report.lost == ()
        assert report.reconciliation.total("explained") == 6

    def test_nothing_is_written_unless_it_is_asked_for(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = lose(tmp_path, "submit-500")
        report = reconcile_account(FluxHook(), [str(tmp_path / "out")], tolerances=AT_ONCE)
        assert [(lost.verdict, lost.is_written) for lost in report.lost] == [("not charged", False)]
        assert task.retry()["uncertain"] == 1

    def test_a_ledger_that_cannot_be_read_forbids_to_settle(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        lose(tmp_path, "submit-500")
        other = tmp_path / "out" / "_flux" / "ledger" / "ads" / "r" / f"hero-{'0' * 16}.1.json"
        other.parent.mkdir(parents=True)
        other.write_text("no record")
        report = settle(tmp_path / "out")
        assert len(report.problems) == 1
        assert [(lost.verdict, lost.is_written) for lost in report.lost] == [("not charged", False)]

    def test_a_submit_by_somebody_else_leaves_the_row_uncertain(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        lose(tmp_path, "submit-500")
        FluxHook().submit(build_request("flux-2-pro", {"prompt": "by a script"}))
        report = settle(tmp_path / "out")
        assert [lost.verdict for lost in report.lost] == ["uncertain"]


class TestSingleImages:
    def test_a_task_whose_submit_was_charged_says_so_and_pays_nothing(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        reconcile_account(FluxHook(), [str(tmp_path)], tolerances=AT_ONCE)
        prompt, path = "fox [[fault:submit-lost]]", f"{tmp_path}/a.jpg"
        task = Task({"prompt": prompt, "model": "flux-2-pro", "output_path": path})
        with pytest.raises(AirflowFailException, match="FluxSubmitUncertainError"):
            task.retry()
        (lost,) = settle(tmp_path).lost
        assert (lost.verdict, lost.is_written) == ("charged", True)
        with pytest.raises(AirflowFailException, match="proves that BFL charged it"):
            task.retry()
        assert emulator.stats()["submits"] == 1

    def test_a_task_whose_submit_was_not_charged_goes_on_by_itself(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        folder = tmp_path / "one"
        reconcile_account(FluxHook(), [str(tmp_path)], tolerances=AT_ONCE)
        task = Task(
            {
                "prompt": "fox [[fault:submit-500]]",
                "model": "flux-2-pro",
                "output_path": f"{folder}/a.jpg",
            }
        )
        for _ in range(2):
            with pytest.raises(AirflowFailException, match="FluxSubmitUncertainError"):
                task.retry()
        (lost,) = settle(folder).lost
        assert (lost.verdict, lost.is_written) == ("not charged", True)
        assert task.retry(prompt="fox")["uncertain_submits"] == 0
        assert emulator.stats()["credits_spent"] == 3
