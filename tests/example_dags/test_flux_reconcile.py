"""The example DAG that reconciles an account each night."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.notifications.flux import FluxNotifier
from tests.support.airflow_names import DagBag
from tests.support.batch_tries import batch, emulated, prompts, quick

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "flux_reconcile.py"


@pytest.fixture(scope="module")
def task() -> Any:
    bag = DagBag(str(EXAMPLE))
    assert bag.import_errors == {}
    return bag.dags["flux_reconcile"].task_dict["reconcile"]


def test_a_night_without_unexplained_credits_succeeds_and_one_with_them_alerts(
    task: Any, emulated: Callable[..., EmulatorServer], tmp_path: Path
) -> None:
    emulated(extra={"account_path": f"{tmp_path}/account"}, latency=0.05)
    ledgers = [str(tmp_path / "out")]
    batch(tmp_path, prompts(3)).retry()
    night = task.python_callable(ledgers)
    assert (night["spent"], night["explained"], night["unexplained"]) == (12, 12, 0)
    FluxHook().submit(build_request("flux-pro-1.1", {"prompt": "by a script"}))
    with pytest.raises(AirflowFailException, match="4 credits are unexplained"):
        task.python_callable(ledgers)


def test_the_alert_is_a_message_of_the_notifier(task: Any) -> None:
    callbacks = task.on_failure_callback
    assert any(isinstance(callback, FluxNotifier) for callback in _as_list(callbacks))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
