"""Only a connection of type ``flux`` is ever used: another one holds another service's secret."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.cli.init_pool import slots_of_connection
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.generation_input import parse_generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.triggers.result import FluxResultTrigger
from tests.support.run_operator import run_trigger

SECRET = "xoxb-slack-canary-0123456789"
#: The connection in the environment, and the type that the error names.
OTHERS = {
    "json of slack": (json.dumps({"conn_type": "slack", "password": SECRET}), "'slack'"),
    "uri of aws": (f"aws://AKIACANARY:{SECRET}@/", "'aws'"),
    "uri of http": (f"http://:{SECRET}@example.com", "'http'"),
    "another spelling": (json.dumps({"conn_type": "flux2", "password": SECRET}), "'flux2'"),
    "json without a type": (json.dumps({"password": SECRET}), "no type"),
    "json with an empty type": (json.dumps({"conn_type": "", "password": SECRET}), "no type"),
}


@pytest.fixture(params=OTHERS)
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A connection ``notifier`` that is not of type ``flux``; returns its type in the error."""
    value, found = OTHERS[request.param]
    monkeypatch.setenv("AIRFLOW_CONN_NOTIFIER", value)
    return found


def assert_refused(message: str, found: str) -> None:
    """Check that an error names connection, type and remedy, and not the secret."""
    assert "'notifier'" in message
    assert found in message
    assert '"conn_type": "flux"' in message
    assert SECRET not in message


def test_a_connection_of_another_type_is_refused_with_its_type_and_the_remedy(other: str) -> None:
    """Fault 2: the password of any connection was sent to BFL as its key."""
    with pytest.raises(FluxConfigurationError) as caught:
        _ = FluxHook("notifier").settings
    assert_refused(str(caught.value), other)


def test_the_test_button_refuses_a_connection_of_another_type(other: str) -> None:
    """Fault 2: every way to the password is closed, the test of a connection too."""
    works, message = FluxHook("notifier").test_connection()
    assert not works
    assert_refused(message, other)


def test_init_pool_refuses_a_connection_of_another_type(other: str) -> None:
    """Fault 2: the command reads the limit of a connection of type ``flux`` only."""
    with pytest.raises(FluxConfigurationError) as caught:
        slots_of_connection("notifier")
    assert_refused(str(caught.value), other)


def test_a_trigger_hands_over_instead_of_polling_with_another_secret(
    emulator: EmulatorServer, other: str
) -> None:
    """Fault 2: a trigger polled with the password of whatever connection its arguments name."""
    generation = parse_generation(
        {"request_id": "r", "polling_url": f"{emulator.url}/v1/get_result?id=r"}
    )
    trigger = FluxResultTrigger(flux_conn_id="notifier", generation=generation, deadline=0.0)
    event: dict[str, Any] = asyncio.run(run_trigger(trigger))
    assert event["status"] == "hand_over"
    assert_refused(event["reason"], other)
    assert emulator.stats()["polls"] == 0


@pytest.mark.parametrize(
    "value",
    [
        "flux://:bfl_canary_key_0123456789@",
        "flux://:bfl_canary_key_0123456789@https%3A%2F%2Fapi.us.bfl.ai/?max_active=3",
        json.dumps({"conn_type": "flux", "password": "bfl_canary_key_0123456789"}),
    ],
)
def test_a_uri_or_json_of_type_flux_is_used(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 2: the forms that the docs name keep working."""
    monkeypatch.setenv("AIRFLOW_CONN_NOTIFIER", value)
    assert FluxHook("notifier").settings.api_key == "bfl_canary_key_0123456789"
