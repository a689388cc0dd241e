"""The plan of a batch: its price is what the run then pays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import quick
from tests.support.nightly import nightly, products

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def test_a_plan_of_a_batch_that_would_be_refused_says_so(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    plan = nightly(tmp_path, products("a", "b"), max_cost=4).plan()
    assert plan.credits == 8
    assert plan.refusal is not None
    assert "expected to cost 8 credits" in plan.describe()


def test_a_plan_with_trim_leaves_out_the_rows_beyond_the_budget(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    plan = nightly(tmp_path, products("a", "b", "c"), max_cost=8, on_budget="trim").plan()
    assert (plan.credits, plan.trimmed, plan.to_submit, plan.refusal) == (8, 1, 2, None)
    assert "1 row beyond the budget stay pending" in plan.describe()


def test_a_plan_touches_no_file(emulator: EmulatorServer, tmp_path: Path) -> None:
    task = nightly(tmp_path, products("a", "b"))
    task.plan()
    assert not (tmp_path / "out").exists()
    task.next_night()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    task.arguments["output_path"] = f"{tmp_path}/out/{{key}}-copy.{{ext}}"
    assert not task.plan().pays
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files


def test_rows_with_one_request_are_priced_once(emulator: EmulatorServer, tmp_path: Path) -> None:
    rows = [{"key": key, "prompt": "fox", "seed": 7} for key in "abc"]
    plan = nightly(tmp_path, rows).plan()
    assert (plan.credits, plan.to_submit, plan.counts.new) == (4, 1, 3)


def test_a_dry_run_logs_the_plan(
    emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nightly(tmp_path, products("a")).new_operator().dry_run()
    assert emulator.stats()["submits"] == 0


ROW = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["fox", "owl", "hare", "fox [[fault:moderated]]"]),
        "model": st.sampled_from(["flux-pro-1.1", "flux-2-pro", "flux-dev"]),
        "width": st.sampled_from([256, 512]),
    }
)


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    nights=st.lists(st.dictionaries(st.integers(0, 5), ROW, max_size=5), min_size=2, max_size=3),
    trims=st.booleans(),
)
def test_the_price_of_a_plan_is_what_the_run_then_pays(
    emulator: EmulatorServer,
    tmp_path_factory: pytest.TempPathFactory,
    nights: list[dict[int, dict[str, Any]]],
    trims: bool,
) -> None:
    emulator.reset()
    budget = {"max_cost": 9, "on_budget": "trim"} if trims else {}
    task = nightly(tmp_path_factory.mktemp("plan"), [], max_failed=None, **budget)
    for table in nights:
        rows = [
            # Two rows may have one request, whose image is paid once.
            {**row, "key": key, "seed": key // 2, "height": 256}
            for key, row in table.items()
        ]
        plan = task.plan(requests=rows)
        moderated = sum("moderated" in row["prompt"] for row in rows)
        before = emulator.stats()["credits_spent"]
        summary = task.next_night()
        paid = emulator.stats()["credits_spent"] - before
        assert summary["credits_expected"] == pytest.approx(plan.credits)
        assert plan.counts.figures() == {name: summary[name] for name in plan.counts.figures()}
        if not moderated:
            assert paid == pytest.approx(plan.credits)
        assert paid <= plan.credits + 1e-6
        assert not trims or plan.credits <= 9
