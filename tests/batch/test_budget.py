"""The budget of a batch: what fits is submitted, in the order of the input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxBatchError, FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_interruptions import meanwhile, stop_after
from tests.support.batch_tries import batch, emulated, quick
from tests.support.nightly import nightly, products

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")


def rows(*prices: int, fault: str = "") -> list[dict[str, Any]]:
    """Return a row for each price: of 3 or 4 credits."""
    models = {4: "flux-pro-1.1", 3: "flux-2-pro"}
    script = f" [[fault:{fault}]]" if fault else ""
    return [
        {"key": number, "prompt": f"fox {number}{script}", "model": models[price]}
        for number, price in enumerate(prices)
    ]


class TestTrim:
    def test_the_first_rows_that_fit_are_submitted_and_the_others_stay_pending(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, rows(4, 3, 4, 3, 3), max_cost=12, on_budget="trim")
        summary = task.retry()
        assert task.outcomes() == ["landed", "landed", "landed", "pending", "pending"]
        assert (summary["credits"], summary["credits_expected"], summary["trimmed"]) == (11, 11, 2)
        assert "on_budget='trim'" in task.manifest()[3]["reason"]

    def test_a_budget_below_the_first_row_submits_nothing_and_is_no_error(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        summary = batch(tmp_path, rows(4, 3), max_cost=3, on_budget="trim").retry()
        assert (summary["pending"], summary["trimmed"], summary["credits"]) == (2, 2, 0)
        assert emulator.stats()["submits"] == 0

    def test_a_cleared_task_goes_on_with_the_budget_that_is_left(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, rows(4, 4, 4, 4), max_cost=8, on_budget="trim")
        task.retry()
        assert task.cleared().retry()["credits"] == 8
        assert emulator.stats()["submits"] == 2
        assert task.cleared().retry(max_cost=12)["credits"] == 12
        assert task.outcomes() == ["landed", "landed", "landed", "pending"]

    def test_the_next_night_goes_on_with_the_rows_that_were_pending(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products(*"abcde"), max_cost=8, on_budget="trim")
        assert [task.next_night()["trimmed"] for _ in range(3)] == [3, 1, 0]
        assert task.counts() == {"reused": 4, "landed": 1}
        assert emulator.stats()["submits"] == 5

    def test_the_balance_is_a_budget(
        self, emulated: Callable[..., EmulatorServer], tmp_path: Path
    ) -> None:
        emulated(credits=9)
        summary = batch(tmp_path, rows(4, 4, 4), on_budget="trim").retry()
        assert (summary["landed"], summary["trimmed"]) == (2, 1)

    def test_a_balance_that_somebody_else_spends_is_no_error(
        self,
        emulated: Callable[..., EmulatorServer],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from airflow_provider_flux.batch import budget

        emulated(credits=9)
        monkeypatch.setattr(budget, "read_balance", lambda hook: 100.0)
        summary = batch(tmp_path, rows(4, 4, 4), on_budget="trim").retry()
        assert (summary["landed"], summary["trimmed"]) == (2, 1)

    def test_rows_that_were_not_tried_do_not_dilute_a_share_that_may_fail(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        table = [*rows(4, fault="error"), *rows(4, 4, 4, 4, 4)[1:]]
        task = batch(tmp_path, table, max_cost=8, on_budget="trim", max_failed=0.3)
        task.fail(FluxBatchError, "1 of 2 rows have no image|1 of 3 rows have no image")

    def test_a_batch_that_is_stopped_is_resumed_within_its_budget(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        table = [{"key": n, "prompt": f"fox {n}"} for n in range(12)]
        task = batch(tmp_path, table, max_cost=32, on_budget="trim", max_active=2)
        with meanwhile(stop_after(emulator, task, 4)):
            task.fail(FluxBatchError, "stopped")
        summary = task.retry()
        assert (summary["landed"], summary["trimmed"], summary["credits"]) == (8, 4, 32)
        assert emulator.stats()["submits"] == 8

    def test_a_row_that_bfl_bills_dearer_ends_the_submits_earlier(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        table = rows(4, 4, 4, 4, fault="absurd-cost=8")
        summary = batch(tmp_path, table, max_cost=18, on_budget="trim").retry()
        assert (summary["landed"], summary["trimmed"], summary["credits"]) == (2, 2, 16)

    def test_another_word_is_refused_when_the_dag_is_parsed(self, tmp_path: Path) -> None:
        with pytest.raises(FluxRequestError, match="on_budget='cut' must be one of 'fail', 'trim'"):
            batch(tmp_path, [], on_budget="cut").new_operator()


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    prices=st.lists(st.sampled_from([3, 4]), min_size=1, max_size=6),
    faults=st.lists(st.sampled_from(["", "", "moderated", "error"]), min_size=6, max_size=6),
    has_fallback=st.booleans(),
    max_cost=st.integers(0, 20),
)
def test_a_trimmed_batch_never_costs_more_than_its_budget(
    emulator: EmulatorServer,
    tmp_path_factory: pytest.TempPathFactory,
    prices: list[int],
    faults: list[str],
    has_fallback: bool,
    max_cost: int,
) -> None:
    emulator.reset()
    table = rows(*prices)
    for row, fault in zip(table, faults, strict=False):
        row["prompt"] += f" [[fault:{fault}]]" if fault else ""
        if has_fallback:
            row["fallback_prompt"], row["fallback_model"] = "owl", "flux-pro-1.1"
    task = batch(
        tmp_path_factory.mktemp("trim"),
        table,
        max_cost=max_cost,
        on_budget="trim",
        max_failed=None,
    )
    summary = task.retry()
    assert emulator.stats()["credits_spent"] <= max_cost
    assert summary["credits"] == emulator.stats()["credits_spent"]
    outcomes = task.outcomes()
    if not has_fallback:  # the rows that were tried are a prefix
        tried = [outcome != "pending" for outcome in outcomes]
        assert tried == sorted(tried, reverse=True)
    # What is left of the budget is not enough for the next row, however often the task is cleared.
    task.cleared().retry()
    assert emulator.stats()["credits_spent"] <= max_cost
