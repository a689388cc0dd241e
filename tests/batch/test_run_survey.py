"""Nightly runs over one table: what is new, changed, unchanged and gone, and what is paid."""

from __future__ import annotations

import json
import logging
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxBatchError, FluxBudgetError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_interruptions import meanwhile, stop_after
from tests.support.batch_tries import batch, quick
from tests.support.nightly import nightly, products

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
FIGURES = ("new", "changed", "unchanged", "gone")


def figures(summary: dict[str, Any]) -> list[Any]:
    """Return the figures of the comparison with the night before."""
    return [summary[name] for name in FIGURES]


class TestSurvey:
    def test_a_second_night_pays_for_new_and_changed_rows_only(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        task = nightly(tmp_path, products("a", "b", "c", "d"))
        assert figures(task.next_night()) == [4, 0, 0, 0]

        rows = [*products("a", "b"), *products("c", text="owl"), *products("e")]
        with caplog.at_level(logging.INFO):
            summary = task.next_night(requests=rows)

        assert figures(summary) == [1, 1, 2, 1]
        assert "4 rows: 1 new, 1 changed, 2 unchanged (free), 1 gone" in caplog.text
        assert emulator.stats()["submits"] == 6
        assert summary["credits"] == summary["credits_expected"] == 8

    def test_a_night_without_a_change_pays_nothing(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products("a", "b", "c"))
        task.next_night()
        summary = task.next_night()
        assert figures(summary) == [0, 0, 3, 0]
        assert (summary["credits"], emulator.stats()["submits"]) == (0, 3)

    def test_the_budget_is_compared_with_the_rows_that_are_paid(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products(*"abcd"))
        task.next_night()
        summary = task.next_night(requests=products(*"abcde"), max_cost=4)
        assert (summary["landed"], summary["reused"]) == (1, 4)
        assert emulator.stats()["submits"] == 5

    def test_a_budget_below_the_rows_that_are_paid_submits_nothing(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products(*"ab"))
        task.next_night()
        rows = products(*"abcd")
        with pytest.raises(Exception, match="expected to cost 8 credits") as caught:
            task.next_night(requests=rows, max_cost=4)
        assert isinstance(caught.value.__cause__ or caught.value, FluxBudgetError)
        assert emulator.stats()["submits"] == 2

    def test_a_batch_without_reuse_is_not_compared(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        assert figures(batch(tmp_path, products("a")).retry()) == [None] * 4

    def test_a_manifest_that_is_damaged_costs_the_figures_only(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        task = nightly(tmp_path, products("a", "b"))
        task.next_night()
        manifest = task.folder / "manifest-hero.jsonl"
        manifest.write_bytes(b'[1]\nnull\n{"key": 7, "uri": "/etc/passwd", "outcome": "landed"}\n{')
        assert figures(task.next_night()) == [0, 0, 2, 0]
        assert emulator.stats()["submits"] == 2

    def test_a_parquet_manifest_is_compared_in_the_same_way(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        path = f"{tmp_path}/out/rows.parquet"
        task = nightly(tmp_path, products("a", "b"), manifest_path=path)
        task.next_night()
        assert figures(task.next_night(requests=products("b"))) == [0, 0, 1, 1]
        assert figures(task.next_night(requests=products("b"))) == [0, 0, 1, 1]


class TestGoneRows:
    def test_a_gone_row_stays_in_the_manifest_until_it_comes_back(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products("a", "b"))
        task.next_night()
        before = task.manifest()[0]
        for _ in range(2):
            assert figures(task.next_night(requests=products("b"))) == [0, 0, 1, 1]
            row = task.manifest()[1]
            assert (row["key"], row["outcome"], row["index"]) == ("a", "gone", 1)
            assert (row["uri"], row["thumb"]) == (before["uri"], before["thumb"])
            assert row["cost"] is None
        assert figures(task.next_night(requests=products("a", "b"))) == [0, 0, 2, 0]
        assert task.outcomes() == ["reused", "reused"]

    def test_a_retry_keeps_the_gone_rows_and_the_changed_ones(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products("a", "b", "c"))
        task.next_night()
        rows = [
            {"key": "b", "prompt": "owl [[fault:error]]"},
            {"key": "c", "prompt": "fox c"},
        ]
        with pytest.raises(FluxBatchError):
            task.next_night(requests=rows)
        assert task.outcomes() == ["failed", "reused", "gone"]
        assert task.manifest()[0]["previous_uri"] == f"{task.folder}/b.jpeg"

        rows[0]["prompt"] = "owl b"
        assert figures(task.retry(requests=rows)) == [0, 1, 1, 1]
        assert task.outcomes() == ["landed", "reused", "gone"]

    def test_a_row_that_is_not_valid_any_more_is_not_gone(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products("a", "b"))
        task.next_night()
        rows = [{"key": "a", "prompt": "fox", "width": 7}, *products("b")]
        summary = task.next_night(requests=rows, on_invalid_row="skip", max_failed=None)
        assert (summary["gone"], summary["invalid"]) == (0, 1)

    def test_a_planted_row_elsewhere_does_not_count(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products("a"))
        task.next_night()
        manifest = task.folder / "manifest-hero.jsonl"
        planted = [
            {"key": "x", "outcome": "landed", "uri": uri}
            for uri in ("/etc/passwd", f"{task.folder}/../secret.png", "s3://other/x.png")
        ]
        with manifest.open("a") as stream:
            stream.writelines(f"{json.dumps(row)}\n" for row in planted)
        assert figures(task.next_night()) == [0, 0, 1, 0]
        assert task.outcomes() == ["reused"]


class TestInterruptions:
    def test_a_batch_that_is_killed_in_the_middle_goes_on_and_pays_each_row_once(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products(*"abcdef"))
        task.next_night()
        rows = [*products(*"bcdef"), *({"key": f"n{n}", "prompt": f"owl {n}"} for n in range(12))]
        task.arguments |= {"requests": rows, "max_active": 3}
        with meanwhile(stop_after(emulator, task, 9)), pytest.raises(FluxBatchError):
            task.next_night()
        assert task.outcomes()[-1] == "gone"

        summary = task.retry()

        assert summary["landed"] + summary["reused"] == 17
        assert (summary["unchanged"] + summary["new"] + summary["changed"]) <= 17
        assert emulator.stats()["submits"] == 6 + 12
        assert summary["gone"] == 1
        assert task.next_night()["credits"] == 0

    def test_images_of_an_earlier_try_land_while_the_rows_are_looked_up(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products(*"ab"))
        task.next_night()
        slow = [{"key": f"n{n}", "prompt": f"owl {n} [[fault:slow=2]]"} for n in range(6)]
        task.arguments |= {"requests": [*products(*"ab"), *slow], "max_active": 3, "grace": 0}
        with meanwhile(stop_after(emulator, task, 5)), pytest.raises(FluxBatchError):
            task.next_night()
        assert task.counts()["submitted"] == 3
        refused = {"max_cost": 13}
        with pytest.raises(Exception, match="expected to cost 12 credits"):
            task.retry(**refused)
        assert task.counts() == {"reused": 2, "landed": 3, "pending": 3}

        summary = task.retry(max_cost=24)

        assert (summary["landed"], summary["unchanged"], summary["credits"]) == (6, 5, 24)
        assert emulator.stats()["submits"] == 2 + 6

    def test_a_task_that_is_stopped_while_it_looks_for_images_submits_nothing(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow_provider_flux.batch.execution import prepare

        task = nightly(tmp_path, products(*"abcdef"))
        find = prepare.find_reusable

        async def find_and_stop(*arguments: Any) -> Any:
            task.operator.on_kill()  # type: ignore[union-attr]
            return await find(*arguments)

        monkeypatch.setattr(prepare, "find_reusable", find_and_stop)
        with pytest.raises(FluxBatchError, match="The task was stopped"):
            task.next_night()
        assert emulator.stats()["submits"] == 0


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 999))
def test_the_order_of_rows_and_the_type_of_columns_cost_nothing(
    emulator: EmulatorServer, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    source = random.Random(seed)
    rows: list[dict[str, Any]] = [
        {"key": number, "prompt": f"fox {seed} {number}", "width": 256, "seed": number}
        for number in range(5)
    ]
    task = nightly(tmp_path_factory.mktemp("night"), rows)
    task.next_night()
    submits = emulator.stats()["submits"]
    types = {
        "key": [str, float, lambda value: Decimal(f"{value}.00")],
        "width": [str, float, Decimal],
        "seed": [str, float],
    }
    for row in rows:
        for name, kinds in types.items():
            row[name] = source.choice(kinds)(row[name])  # type: ignore[operator]
    source.shuffle(rows)

    assert figures(task.next_night(requests=rows)) == [0, 0, 5, 0]
    assert emulator.stats()["submits"] == submits
