"""The charges that ledgers and journals know, one for each submit."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.accounting.charges import Charge, read_charges
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.recovery.find import Unreadable
from tests.support.batch_tries import batch, prompts, quick
from tests.support.task_tries import Task

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def read(folder: Path) -> tuple[list[Charge], list[Unreadable]]:
    problems: list[Unreadable] = []
    return list(read_charges([str(folder)], on_problem=problems.append)), problems


class TestBatches:
    def test_the_charges_of_a_batch_are_what_the_service_billed(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [
            *prompts(2),
            *prompts(1, "moderated", start=2),
            *prompts(1, "submit-lost", start=3),
            *prompts(1, "lost", start=4),
            *prompts(1, "rate-limit=1", start=5),
        ]
        task = batch(tmp_path, rows, max_failed=None, timeout=2)
        task.retry()
        charges, problems = read(tmp_path)
        assert problems == []
        outcomes = Counter(charge.outcome for charge in charges)
        assert outcomes == {"landed": 3, "moderated": 1, "uncertain": 1, "lost": 1}
        assert sum(charge.credits for charge in charges) == emulator.stats()["credits_spent"]
        assert {charge.task_id for charge in charges} == {"hero"}
        assert all((charge.request_id is None) == charge.is_uncertain for charge in charges)
        assert {charge.held for charge in charges} == {4.0}

    def test_charges_are_chosen_by_the_time_of_their_submit(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        batch(tmp_path, prompts(2)).retry()
        charges, _ = read(tmp_path)
        first, last = sorted(charge.submitted_at for charge in charges)
        after = last + timedelta(microseconds=1)
        assert len(list(read_charges([str(tmp_path)], first, after))) == 2
        assert len(list(read_charges([str(tmp_path)], after))) == 0
        assert len(list(read_charges([str(tmp_path)], None, first))) == 0

    def test_a_journal_below_two_folders_counts_once(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        batch(tmp_path, prompts(2)).retry()
        assert len(list(read_charges([str(tmp_path), str(tmp_path / "out")]))) == 2


class TestSingleImages:
    def test_a_submit_that_the_service_refused_is_no_charge(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = Task({"prompt": "fox [[fault:no-credits]]", "output_path": f"{tmp_path}/a.jpg"})
        with pytest.raises(AirflowFailException):
            task.retry()
        task.retry(prompt="fox")
        (charge,), _ = read(tmp_path)
        assert (charge.outcome, charge.credits, charge.dag_id) == ("landed", 4, "ads")
        assert charge.opened_at <= charge.submitted_at <= charge.updated_at

    def test_a_record_in_the_folder_of_another_task_does_not_count(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        Task({"prompt": "fox", "output_path": f"{tmp_path}/a.jpg"}).retry()
        (record,) = tmp_path.glob("_flux/ledger/**/*.json")
        other = record.parents[2] / "other" / record.parent.name / record.name
        other.parent.mkdir(parents=True)
        shutil.copy(record, other.with_name(f"hero-{'0' * 16}.1.json"))
        charges, (problem,) = read(tmp_path)
        assert len(charges) == 1
        assert "names another task than its folder does" in str(problem.error)
