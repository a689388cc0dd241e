"""The page of the executors: its message, its settings and its pod template."""

from __future__ import annotations

import configparser
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_flux.ledger.ledger_host import LostLedger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "executors.md").read_text()
SNIPPETS = ROOT / "docs" / "snippets"


def test_the_quoted_message_is_that_of_the_lost_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "worker-2")
    message = LostLedger("file:///tmp/flux/_flux/ledger/", "worker-1", "3/None").describe()
    assert f"FluxSubmitUncertainError: {message} Nothing is submitted" in " ".join(PAGE.split())


@pytest.fixture(scope="module")
def options() -> dict[tuple[str, str], Any]:
    """The options of Airflow and of the Celery provider, and their defaults."""
    celery = pytest.importorskip("airflow.providers.celery.get_provider_info")
    from airflow.configuration import retrieve_configuration_description

    sections = {
        **retrieve_configuration_description(include_providers=False),
        **celery.get_provider_info()["config"],
    }
    return {
        (section, option): description["default"]
        for section, content in sections.items()
        for option, description in content["options"].items()
    }


def test_every_option_of_the_celery_settings_exists(options: dict[tuple[str, str], Any]) -> None:
    settings = configparser.ConfigParser()
    settings.read(SNIPPETS / "celery.cfg")
    used = {(section, option) for section in settings.sections() for option in settings[section]}
    assert used
    assert used <= set(options)


def test_the_table_of_celery_settings_has_options_that_exist_and_their_defaults(
    options: dict[tuple[str, str], Any],
) -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `[")]
    assert rows
    for _, name, default, *_rest in rows:
        section, _, option = name.strip(" `[").partition("] ")
        stored = options[section, option]
        if option != "visibility_timeout":  # a default of the code, not of the option
            assert str(float(stored) if stored.replace(".", "").isdigit() else stored) in {
                default.strip(" `"),
                f"{default.strip()}.0",
            }


def test_the_pod_template_fills_the_container_of_kubernetes_executor() -> None:
    pod = yaml.safe_load((SNIPPETS / "pod_template.yaml").read_text())
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "base"
    assert pod["spec"]["restartPolicy"] == "Never"
    (mount,), (volume,) = container["volumeMounts"], pod["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    assert {"name": "TMPDIR", "value": mount["mountPath"]} in container["env"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > 5
