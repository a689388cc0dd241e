"""FluxCreditsSensor, in DAG runs of Airflow on its database, against the emulator."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxRequestError,
    FluxTriggerEventError,
)
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.sensors.credits import FluxCreditsSensor
from airflow_provider_flux.testing.dag_run import run_dag
from airflow_provider_flux.triggers.credits import FluxCreditsTrigger, read_credits_event
from tests.conftest import KEY
from tests.support.run_operator import run_trigger
from tests.support.scripted_host import Exchange, ScriptedHost, status

ROOT = Path(__file__).parents[2]
ways = pytest.mark.parametrize("way", ["poke", "deferrable"])


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


def wait(way: str, minimum: Any, sensor: Any = FluxCreditsSensor, **arguments: Any) -> Any:
    """Run a DAG of one sensor, and return its task instance."""
    arguments = {"poke_interval": 0.1, "timeout": 30, **arguments}
    with DAG("credits", schedule=None, params={"minimum": 900}) as dag:
        sensor(task_id="wait", minimum=minimum, deferrable=way == "deferrable", **arguments)
    return run_dag(dag).get_task_instance("wait")


def returned(ti: Any) -> Any:
    return ti.xcom_pull(task_ids="wait")


def answer_credits(balance: float) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send_json({"credits": balance})


@ways
def test_the_sensor_returns_the_balance_of_an_account_with_enough_credits(
    emulator: EmulatorServer, way: str
) -> None:
    ti = wait(way, "{{ params.minimum }}")
    assert (ti.state, returned(ti)) == ("success", 1000)
    assert emulator.stats()["submits"] == 0


@ways
def test_the_sensor_waits_until_credits_are_back(connect: Callable[..., None], way: str) -> None:
    """BFL reserves the credits of a request, and returns them if its moderation refuses it."""
    with EmulatorServer(EmulatorConfig(credits=10)) as server:
        connect(server.url)
        hook = FluxHook()
        prompt = "a fox [[fault:held]] [[fault:moderated]]"
        submitted = hook.submit(hook.build_request("flux-pro-1.1", {"prompt": prompt}))
        assert hook.get_conn().get_credits() == 6

        class Sensor(FluxCreditsSensor):
            def poke(self, context: Any) -> Any:
                found = super().poke(context)
                server.release("fox")
                return found

        ti = wait(way, 10, sensor=Sensor)
        assert submitted.request_id
        assert (ti.state, returned(ti)) == ("success", 10)


@ways
def test_the_sensor_outlasts_an_outage(connect: Callable[..., None], way: str) -> None:
    with ScriptedHost() as host:
        host.answers["/v1/credits"] = [
            answer_credits(1),
            status(503),
            Exchange.hang_up,
            status(429),
            answer_credits(70),
        ]
        connect(host.url)
        ti = wait(way, 50)
        assert (ti.state, returned(ti)) == ("success", 70)
        assert len(host.received) == 5


@ways
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_refused_key_ends_the_wait_without_retries(
    connect: Callable[..., None], way: str, soft_fail: bool, state: str
) -> None:
    """The host refuses the key at the second read, which a deferred sensor makes on a triggerer."""
    with ScriptedHost() as host:
        host.answers["/v1/credits"] = [answer_credits(1), status(403)]
        connect(host.url)
        ti = wait(way, 50, soft_fail=soft_fail, retries=3)
        assert (ti.state, len(host.received)) == (state, 2)


@ways
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_key_that_is_refused_at_once_ends_the_task(
    connect: Callable[..., None], way: str, soft_fail: bool, state: str
) -> None:
    with ScriptedHost() as host:
        host.answers["/v1/credits"] = status(403)
        connect(host.url)
        ti = wait(way, 50, soft_fail=soft_fail, retries=3)
        assert (ti.state, len(host.received)) == (state, 1)


def test_a_sensor_that_pokes_fails_without_retries_after_its_timeout(
    emulator: EmulatorServer,
) -> None:
    assert wait("poke", 5000, timeout=0.3, retries=3).state == "failed"


def test_the_trigger_holds_its_state_and_no_key(emulator: EmulatorServer) -> None:
    trigger = FluxCreditsTrigger(flux_conn_id="flux_default", minimum=5, poke_interval=3)
    path, arguments = trigger.serialize()
    assert path == "airflow_provider_flux.triggers.credits.FluxCreditsTrigger"
    assert arguments == {"flux_conn_id": "flux_default", "minimum": 5, "poke_interval": 3}
    assert FluxCreditsTrigger(**arguments).serialize() == trigger.serialize()


async def test_the_trigger_reports_a_connection_that_it_cannot_use() -> None:
    trigger = FluxCreditsTrigger(flux_conn_id="gone", minimum=5, poke_interval=0)
    event = await run_trigger(trigger)
    assert event["status"] == "error"
    assert event["error"]["type"] == "FluxConfigurationError"
    assert "The triggerer cannot use the connection" in event["error"]["message"]
    assert KEY not in str(event)


@pytest.mark.parametrize("event", [None, {}, {"status": "enough"}, {"status": "landed"}])
def test_an_event_of_a_stranger_is_refused(event: Any) -> None:
    with pytest.raises(FluxTriggerEventError, match="not of this provider"):
        read_credits_event(event)


def test_an_error_of_the_trigger_keeps_its_type() -> None:
    error = FluxAuthenticationError("refused").as_dict()
    with pytest.raises(FluxAuthenticationError, match="refused"):
        read_credits_event({"status": "error", "error": error})


@pytest.mark.parametrize("minimum", [0, -1, True, None, "many", float("nan"), float("inf")])
def test_a_minimum_that_is_no_amount_is_an_error_of_the_dag(minimum: Any) -> None:
    with pytest.raises(FluxRequestError, match="must be a number of credits"):
        FluxCreditsSensor(task_id="wait", minimum=minimum)


def test_the_dag_of_the_documentation_waits_and_then_generates(emulator: EmulatorServer) -> None:
    module = runpy.run_path(str(ROOT / "docs/snippets/wait_for_credits.py"))
    dag = module["enough"].dag
    assert run_dag(dag).state == "success"
    assert emulator.stats()["submits"] == 1
