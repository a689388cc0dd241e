"""The command ``budgets``, and the check of doctor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch, prompts, quick
from tests.support.image_task import image_task, run_task

__all__ = ["quick"]

Command = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def account(emulator: EmulatorServer, connect: Any, tmp_path: Path) -> EmulatorServer:
    """An account with a budget of one image, and one for each DAG."""
    (tmp_path / "account").mkdir()
    budgets = [{"credits": 4, "per": "day"}, {"credits": 100, "per": "month", "dag": "*"}]
    connect(emulator.url, account_path=f"{tmp_path}/account", budgets=budgets)
    return emulator


def test_the_budgets_are_listed_with_what_is_left_and_who_spent(
    account: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    run_task(image_task(f"{tmp_path}/out/hero.{{ext}}"))
    ended = command("budgets", "-o", "json")
    assert ended.code == 0, ended.err
    day, month = json.loads(ended.out)
    assert (day["spent"], day["reserved"], day["left"]) == (4, 0, 0)
    assert (month["counter"], month["left"], month["spenders"]) == ("dag=ads", 96, "ads.hero 4")


def test_doctor_warns_of_a_budget_that_is_used_up(
    account: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    run_task(image_task(f"{tmp_path}/out/hero.{{ext}}"))
    rows = {row["check"]: row for row in json.loads(command("doctor", "-o", "json").out)}
    assert rows["budgets"]["status"] == "warning"


def test_a_plan_shows_the_budgets_and_the_refusal_and_writes_nothing(
    account: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, prompts(2))
    plan = task.new_operator().plan(task.context())
    assert "The budget of 4 credits per day has too little left" in (plan.refusal or "")
    assert "budget of 4 credits per day: 0 spent, 0 reserved, 4 left" in plan.describe()
    assert plan.as_dict()["budgets"][0]["left"] == 4
    assert list((tmp_path / "account").iterdir()) == []


def test_a_command_obeys_the_budget_of_the_key(
    account: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    run_task(image_task(f"{tmp_path}/out/hero.{{ext}}"))
    path = f"{tmp_path}/out/door.{{ext}}"
    ended = command("generate", "A door", "--output-path", path, "--yes")
    assert ended.code != 0
    assert "too little left for this submit" in ended.err
    assert account.stats()["submits"] == 1
