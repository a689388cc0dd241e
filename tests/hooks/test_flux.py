"""The hook: its connection, the button that tests it, and a generation through its client."""

from __future__ import annotations

import json

import pytest

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.provider_info import CONNECTION_FORM
from tests.conftest import KEY
from tests.support.submit_by_client import submit_by_hook, wait_by_hook

pytestmark = pytest.mark.usefixtures("hurry")


def test_the_hook_submits_a_request_and_its_client_waits_and_downloads(
    emulator: EmulatorServer,
) -> None:
    parameters = {"prompt": "a fox", "seed": 7, "width": 256, "height": 256}
    submission = submit_by_hook("flux-pro-1.1", {**parameters, "output_format": "png"})
    result = wait_by_hook(submission)
    assert result.seed == 7
    assert result.sample is not None
    assert FluxHook().get_conn().download(result.sample).startswith(b"\x89PNG")
    stats = emulator.stats()
    assert (stats["submits"], stats["key_seen_on_delivery"]) == (1, 0)


def test_the_test_button_shows_the_balance_and_never_the_key(emulator: EmulatorServer) -> None:
    assert FluxHook().get_conn().get_credits() == 1000
    ok, message = FluxHook().test_connection()
    assert ok
    assert "1000 credits" in message
    assert KEY not in message
    assert emulator.stats()["submits"] == 0


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("not-a-key", "refused the API key"),
        ("bfl_revoked_0123456789", "refused the API key"),
        (None, "no API key"),
    ],
)
def test_the_test_button_names_the_problem_and_never_the_key(
    emulator: EmulatorServer, connect, password: str | None, problem: str
) -> None:
    connect(emulator.url, password)
    ok, message = FluxHook().test_connection()
    assert not ok
    assert problem in message
    assert "bfl_revoked_0123456789" not in message


def test_the_environment_replaces_a_missing_default_connection(
    emulator_process: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator_process.reset()
    monkeypatch.delenv("AIRFLOW_CONN_FLUX_DEFAULT", raising=False)
    monkeypatch.setenv("BFL_API_KEY", KEY)
    monkeypatch.setenv("BFL_API_BASE", emulator_process.url)
    assert FluxHook().get_conn().get_credits() == 1000
    monkeypatch.delenv("BFL_API_BASE")
    assert FluxHook().settings.base_url == "https://api.bfl.ai"
    with pytest.raises(errors.FluxConfigurationError, match="'flux_other' does not exist"):
        _ = FluxHook("flux_other").settings


def test_the_error_of_a_missing_connection_names_the_remedies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_FLUX_DEFAULT", raising=False)
    with pytest.raises(
        errors.FluxConfigurationError, match=r"'flux_default' does not exist.*BFL_API_KEY"
    ):
        _ = FluxHook().settings


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [
        ("http://127.0.0.1:8484", 0, "http://127.0.0.1:8484"),
        ("http://127.0.0.1:8484", None, "http://127.0.0.1:8484"),
        ("http://127.0.0.1:8484", 8484, "http://127.0.0.1:8484"),
        ("http://127.0.0.1", 8484, "http://127.0.0.1:8484"),
        (None, 0, "https://api.bfl.ai"),
        (None, 443, "https://api.bfl.ai"),
    ],
)
def test_a_port_of_0_means_none_and_a_repeated_one_counts_once(
    monkeypatch: pytest.MonkeyPatch, host: str | None, port: int | None, base_url: str
) -> None:
    """Fault 34: the UI sends port 0 for a connection without a port."""
    connection = {"conn_type": "flux", "password": KEY, "host": host, "port": port}
    monkeypatch.setenv("AIRFLOW_CONN_FLUX_DEFAULT", json.dumps(connection))
    assert FluxHook().settings.base_url == base_url


def test_the_connection_of_a_hook_may_be_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_FLUX_DEFAULT", f"flux://:{KEY}@/?region=eu&read_timeout=30&max_active=6"
    )
    settings = FluxHook().settings
    assert (settings.base_url, settings.read_timeout, settings.max_active) == (
        "https://api.eu.bfl.ai",
        30,
        6,
    )
    monkeypatch.setenv("AIRFLOW_CONN_FLUX_DEFAULT", f"flux://:{KEY}@http%3A%2F%2Flocalhost:8123")
    assert FluxHook().settings.base_url == "http://localhost:8123"


def test_the_hook_declares_the_form_of_its_connection() -> None:
    assert FluxHook.get_ui_field_behaviour() == CONNECTION_FORM
