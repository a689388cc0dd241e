"""Tests of the ledger that a command and a task share: they are tries of one clear."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxSubmitUncertainError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.ledger.clear_id import COMMAND_CLEAR_ID, clear_id_of
from tests.support.batch_tries import Batch, prompts, quick
from tests.support.task_tries import Task

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def _without_run(context: Any) -> Any:
    context["ti"].is_command = True
    del context["dag_run"]
    return context


@dataclass
class CommandBatch(Batch):
    """A batch that ``airflow flux batch`` runs with the ids of the task."""

    def context(self) -> Any:
        return _without_run(super().context())


@dataclass
class CommandTask(Task):
    """A request that ``airflow flux generate`` runs with the ids of the task."""

    def context(self) -> Any:
        return _without_run(super().context())


def batch_arguments(folder: Path, requests: list[str]) -> dict[str, Any]:
    return {
        "requests": requests,
        "output_path": f"{folder}/out/{{key}}.{{ext}}",
        "max_failed": None,
    }


def test_the_clear_id_of_a_command_is_that_of_no_task(tmp_path: Path) -> None:
    arguments = {"prompt": "fox"}
    assert clear_id_of(CommandTask(arguments).context()) == COMMAND_CLEAR_ID
    assert clear_id_of(Task(arguments).context()) != COMMAND_CLEAR_ID


def test_a_task_submits_an_uncertain_row_of_a_command_only_after_a_user_cleared_it(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    arguments = batch_arguments(tmp_path, prompts(2, "submit-lost"))
    assert CommandBatch(dict(arguments)).retry()["uncertain"] == 2

    task = Batch(dict(arguments))
    assert task.retry()["uncertain"] == 2
    assert task.retry()["uncertain"] == 2
    assert emulator.stats()["submits"] == 2

    task.cleared().retry()
    assert emulator.stats()["submits"] == 4


def test_a_command_goes_on_with_the_rows_of_a_task_as_a_retry_does(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    requests = [*prompts(2), *prompts(1, "submit-lost", start=2)]
    arguments = batch_arguments(tmp_path, requests)
    task = Batch(dict(arguments))
    assert task.retry()["landed"] == 2

    summary = CommandBatch({**arguments, "requests": [*requests, "bear"]}).retry()
    assert (summary["landed"], summary["uncertain"]) == (3, 1)
    assert emulator.stats()["submits"] == 4

    assert task.retry(requests=[*requests, "bear"])["landed"] == 3
    assert emulator.stats()["submits"] == 4


def test_a_task_returns_the_image_of_a_command_and_generates_a_new_one_after_a_clear(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    arguments = {"prompt": "fox", "output_path": f"{tmp_path}/{{key}}.{{ext}}"}
    first = CommandTask(dict(arguments)).retry()
    task = Task(dict(arguments))
    assert task.retry()["request_id"] == first["request_id"]
    assert CommandTask(dict(arguments)).retry()["request_id"] == first["request_id"]
    assert emulator.stats()["submits"] == 1

    second = task.clear()
    assert second["request_id"] != first["request_id"]
    assert CommandTask(dict(arguments)).retry()["request_id"] == second["request_id"]
    assert emulator.stats()["submits"] == 2


def test_a_task_fails_on_the_uncertain_submit_of_a_command_until_a_user_clears_it(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    arguments = {
        "prompt": "fox [[fault:submit-lost]]",
        "output_path": f"{tmp_path}/{{key}}.{{ext}}",
    }
    from airflow.providers.common.compat.sdk import AirflowFailException

    uncertain = (FluxSubmitUncertainError, AirflowFailException)
    with pytest.raises(uncertain):
        CommandTask(dict(arguments)).retry()
    task = Task(dict(arguments))
    with pytest.raises(uncertain, match="Nothing is submitted"):
        task.retry()
    assert emulator.stats()["submits"] == 1
    with pytest.raises(uncertain):
        task.clear()
    assert emulator.stats()["submits"] == 2
