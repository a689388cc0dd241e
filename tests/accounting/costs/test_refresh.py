"""The index of costs: what it reads, what it does not read again, and what it counts once."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.accounting.costs.index_file import open_index
from airflow_provider_flux.accounting.costs.period import parse_period
from airflow_provider_flux.accounting.costs.refresh import Progress
from airflow_provider_flux.accounting.costs.report import CostReport, Grouping, Scope, read_report
from airflow_provider_flux.accounting.costs.sources import (
    describe_problems,
    refresh_scope,
    scope_of_folders,
)
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put
from tests.support.cost_ledgers import DAY, OWNER, row_entries, write_journal, write_record
from tests.support.object_stores import Store

ALL = parse_period(None, None)


class Reader:
    """Reads costs with an index of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.progress = Progress()
        self.problems: list[str] = []

    def read(
        self, *folders: Path | str, scope: Scope | None = None, by: Grouping = "dag", **options: Any
    ) -> CostReport:
        """Return the costs below folders, or of a scope."""
        chosen = scope or scope_of_folders([str(folder) for folder in folders])
        index = open_index(self.folder)
        try:
            self.progress = refresh_scope(index, chosen)
            self.problems = describe_problems(index, chosen, 9)[1]
            return read_report(index.connection, replace(chosen, **options), by, ALL)
        finally:
            index.close()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader of costs."""
    return Reader(tmp_path / "cache")


def _put(uri: str, data: bytes) -> None:
    run_sync(put(uri, data, WriteOptions("application/json")))


class TestWhatIsRead:
    def test_a_second_report_reads_only_objects_that_are_new_or_have_changed(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        rows = [entry for index in range(40) for entry in row_entries(index)]
        write_journal(ledger, rows[:90], session="a" * 32)
        write_record(ledger, "single")
        assert reader.read(tmp_path / "out").total.submits == 31
        assert reader.progress.read == reader.progress.listed
        assert reader.read(tmp_path / "out").total.submits == 31
        assert reader.progress.read == 0
        write_journal(ledger, rows, session="a" * 32)
        total = reader.read(tmp_path / "out").total
        assert (total.submits, total.images, total.credits) == (41, 41, 123)

    def test_a_ledger_that_is_removed_counts_no_longer(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        record = write_record(ledger, "single")
        write_journal(ledger, row_entries(0))
        assert reader.read(tmp_path / "out").total.credits == 6
        record.unlink()
        assert reader.read(tmp_path / "out").total.credits == 3
        shutil.rmtree(ledger)
        assert reader.read(tmp_path / "out").rows == []

    def test_each_store_reports_the_versions_by_which_only_changes_are_read(
        self, reader: Reader, tmp_path: Path, store: Store
    ) -> None:
        name = write_record(tmp_path, "r1").relative_to(tmp_path)
        folder = f"{store.root}/costs"
        open_path(f"{folder}/", field="output_path")
        _put(f"{folder}/_flux/ledger/{name}", write_record(tmp_path, "r1").read_bytes())
        assert reader.read(folder).total.credits == 3
        assert reader.read(folder).total.credits == 3
        assert reader.progress.read == 0
        _put(f"{folder}/_flux/ledger/{name}", write_record(tmp_path, "r1", cost=5.5).read_bytes())
        assert reader.read(folder).total.credits == 5.5

    def test_an_index_that_is_damaged_is_built_anew(self, reader: Reader, tmp_path: Path) -> None:
        write_record(tmp_path / "out/_flux/ledger", "r1")
        (reader.folder / "costs.sqlite").write_bytes(b"no database" * 1000)
        assert reader.read(tmp_path / "out").total.credits == 3


class TestCountedOnce:
    def test_a_submit_in_a_record_and_in_a_journal_counts_once(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        write_record(ledger, "r1")
        write_journal(ledger, row_entries(0, request_id="r1"))
        assert reader.read(tmp_path / "out").total.submits == 1

    def test_a_copy_of_a_ledger_adds_nothing_and_the_later_phase_counts(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger, copy = tmp_path / "out/_flux/ledger", tmp_path / "copy/_flux/ledger"
        write_record(ledger, "r1", phase="submitted", claim="c")
        write_record(ledger, None, phase="intent", number=1, claim="d")
        shutil.copytree(ledger, copy)
        write_record(ledger, "r1", phase="failed", error="FluxModeratedError", claim="c")
        write_record(ledger, "r2", number=1, claim="d")
        total = reader.read(tmp_path / "out", tmp_path / "copy").total
        assert (total.submits, total.uncertain, total.credits) == (2, 0, 3)

    def test_entries_of_one_submit_in_several_segments_are_one_submit(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        intent, *later = row_entries(0)
        write_journal(ledger, later)
        assert reader.read(tmp_path / "out").total.credits == 3
        write_journal(ledger, [intent])
        total = reader.read(tmp_path / "out").total
        assert (total.submits, total.images, total.credits) == (1, 1, 3)

    def test_an_uncertain_submit_stays_beside_the_retry_that_submitted_again(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        write_record(ledger, None, phase="intent", estimated_cost=4.0)
        write_record(ledger, "r2", number=1)
        total = reader.read(tmp_path / "out").total
        assert (total.submits, total.credits, total.uncertain, total.possible) == (1, 3, 1, 4)


class TestStrangers:
    def test_a_record_that_names_another_dag_than_its_place_charges_nobody(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        victim = TaskIdentity(dag_id="victim", run_id="r", task_id="t")
        forged = write_record(ledger, "stolen", owner=victim)
        forged.replace(write_record(ledger, "own"))
        assert reader.read(tmp_path / "out").rows == []
        assert "names a task at whose place it is not" in reader.problems[0]

    def test_a_record_of_a_dag_in_the_ledger_of_another_one_does_not_count(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger, foreign = tmp_path / "ads/_flux/ledger", tmp_path / "foreign/_flux/ledger"
        write_record(ledger, "r1", cost=3.0, claim="c")
        write_record(foreign, "forged", cost=900.0)
        write_record(foreign, "r1", phase="failed", error="FluxModeratedError", claim="c")
        known = Scope(ledgers={str(ledger): {"ads"}, str(foreign): {"foreign"}})
        assert reader.read(scope=known).total.credits == 3
        assert reader.read(tmp_path / "foreign", scope=known, dag_ids={"foreign"}).rows == []

    def test_another_dag_that_claims_the_same_request_takes_no_cost_away(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        thief = TaskIdentity(dag_id="thief", run_id="r", task_id="t")
        write_record(ledger, "r1", cost=3.0, claim="c")
        write_record(ledger, "r1", cost=0.0, claim="c", owner=thief)
        costs = {row.key: row.credits for row in reader.read(tmp_path / "out").rows}
        assert costs == {("ads",): 3, ("thief",): 0}

    @pytest.mark.parametrize("number", ["1e400", "NaN", "-3", "1e13", '"3"', "9" * 400])
    def test_a_cost_that_is_no_amount_does_not_count_and_the_estimate_does(
        self, reader: Reader, tmp_path: Path, number: str
    ) -> None:
        file = write_record(tmp_path / "out/_flux/ledger", "r1", cost=777.0)
        text = file.read_text()
        assert '"cost": 777.0' in text
        file.write_text(text.replace('"cost": 777.0', f'"cost": {number}'))
        total = reader.read(tmp_path / "out").total
        assert (total.credits, total.estimated) in {(1.5, 1.5), (3.0, 3.0), (0.0, 0.0)}
        assert total.submits + len(reader.problems) == 1

    @pytest.mark.parametrize("moment", ["", "yesterday", "9999-12-31T23:59:59-23:00", "0001-01-01"])
    def test_a_record_of_an_impossible_time_is_named_and_does_not_count(
        self, reader: Reader, tmp_path: Path, moment: str
    ) -> None:
        file = write_record(tmp_path / "out/_flux/ledger", "r1")
        file.write_text(file.read_text().replace(DAY.isoformat(), moment))
        assert reader.read(tmp_path / "out", by="day").rows == []
        assert "cannot be read" in reader.problems[0]

    def test_files_that_are_no_records_and_names_that_are_not_utf8_change_nothing(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        file = write_record(ledger, "r1")
        (file.parent / "hero-0123456789abcdef.9.json").write_bytes(b'{"claim": "\xff')
        (file.parent / "note.json").write_text("[]")
        os.symlink("/dev/zero", file.parent / "hero-0123456789abcdef.1.json")
        folder = os.fsencode(ledger) + b"/\xff/r"
        os.makedirs(folder)
        with open(folder + b"/t-0123456789abcdef.0.json", "wb") as stream:
            stream.write(file.read_bytes())
        assert reader.read(tmp_path / "out").total.credits == 3
        assert len(reader.problems) == 1
        assert reader.progress.not_utf8 == 1


class TestOutcomes:
    def test_only_what_bfl_charges_is_charged(self, reader: Reader, tmp_path: Path) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        write_record(ledger, "a", phase="failed", error="FluxModeratedError")
        write_record(ledger, "b", phase="failed", error="FluxRejectedError", number=1)
        write_record(ledger, "c", phase="failed", error="FluxTaskNotFoundError", number=2)
        write_record(ledger, None, phase="failed", error="FluxRequestError", number=3)
        write_record(ledger, "d", phase="submitted", reported=False, number=4)
        write_record(ledger, None, phase="intent", error="FluxTaskNotFoundError", number=5)
        report = reader.read(tmp_path / "out", by="outcome")
        rows = {row.key[0]: row for row in report.rows}
        assert {name: row.credits for name, row in rows.items()} == {
            "moderated": 0,
            "rejected": 3,
            "lost": 6,
            "refused": 0,
            "submitted": 3,
        }
        assert (report.total.estimated, report.total.refused, report.total.images) == (6, 1, 0)

    def test_a_connection_a_model_and_a_task_choose_their_own_costs(
        self, reader: Reader, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "out/_flux/ledger"
        other = OWNER.model_copy(update={"task_id": "other"})
        write_record(ledger, "r1", flux_conn_id="flux_eu")
        write_record(ledger, "r2", owner=other, cost=5.0, at=DAY + timedelta(days=1))
        european = reader.read(tmp_path / "out", flux_conn_id="flux_eu").total
        assert european.credits == 3
        by_task = [(row.key, row.credits) for row in reader.read(tmp_path / "out", by="task").rows]
        assert by_task == [(("ads", "other"), 5), (("ads", "hero"), 3)]
        by_day = [row.key[0] for row in reader.read(tmp_path / "out", by="day").rows]
        assert by_day == ["2026-11-10", "2026-11-11"]
