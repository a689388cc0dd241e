"""An uncertain record learns its request from an answer that a webhook delivered."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.ledger.delivered_answer import ANSWER_KEY_PREFIX, DeliveredAnswer
from airflow_provider_flux.ledger.record_task_state import RECORD_KEY_PREFIX
from tests.support.task_tries import StateStore, Task

pytestmark = pytest.mark.usefixtures("hurry")


def test_a_retry_without_output_path_resumes_the_request_in_the_task_state_store(
    emulator: EmulatorServer,
) -> None:
    state = StateStore()
    task = Task({"prompt": "fox [[fault:submit-500]]"}, state_store=state)
    with pytest.raises(AirflowFailException, match="FluxSubmitUncertainError"):
        task.retry()
    made = FluxHook().submit(build_request("flux-pro-1.1", {"prompt": "fox"}))
    claim = json.loads(state.rows[f"{RECORD_KEY_PREFIX}1"])["claim"]
    answer = DeliveredAnswer(claim=claim, request_id=made.request_id)
    state.rows[f"{ANSWER_KEY_PREFIX}1"] = answer.model_dump_json()
    generation = task.retry()
    assert generation["request_id"] == made.request_id
    assert (generation["cost"], generation["uncertain_submits"]) == (4, 0)
    assert emulator.stats()["submits"] == 1
