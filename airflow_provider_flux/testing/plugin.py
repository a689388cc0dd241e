"""The plugin of pytest: an emulator, a connection to it, and runs of DAGs.

Everything is a fixture that a test names. Without one of them, and without the setting
``flux_airflow_home``, the plugin changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_flux.testing.airflow_home import AirflowHome, LateImportError

if TYPE_CHECKING:
    from airflow_provider_flux.emulator import EmulatorServer

#: The API key of the connection. The emulator takes any of this form.
_KEY = "bfl_emulator"
#: Seconds that a generation takes, unless the marker says otherwise.
_LATENCY = 0.2
_MARKERS = (
    "flux_emulator(**config): arguments of EmulatorConfig for the fixture flux_emulator, for "
    "example faults=['poll-500=2']",
    "flux_connection(*conn_ids): ids of more connections for the fixture flux_connection",
)
_HOME = AirflowHome()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting of the plugin.

    :param parser: the parser of pytest's options.
    """
    parser.addini(
        "flux_airflow_home",
        "Use a temporary AIRFLOW_HOME, unless the environment names an Airflow.",
        type="bool",
        default=False,
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set the temporary home, if the project asks for it, before anything imports Airflow.

    :param early_config: the settings of pytest, before it loads a ``conftest.py``.
    """
    if early_config.getini("flux_airflow_home"):
        _HOME.choose()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and remove the temporary home at the end.

    :param config: the settings of pytest.
    """
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    config.add_cleanup(_HOME.remove)


@pytest.fixture
def flux_emulator(request: pytest.FixtureRequest) -> Iterator[EmulatorServer]:
    """Return a new emulator on a free port, with a latency of 0.2 seconds.

    The marker ``flux_emulator`` takes the arguments of ``EmulatorConfig``.

    :param request: the test, with its marker.
    """
    from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer

    marker = request.node.get_closest_marker("flux_emulator")
    config = {"latency": _LATENCY, **(marker.kwargs if marker else {})}
    with EmulatorServer(EmulatorConfig(**config)) as server:
        yield server


@pytest.fixture
def flux_connection(
    request: pytest.FixtureRequest,
    flux_emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Define the connection ``flux_default`` to the emulator for the test; return its id.

    The marker ``flux_connection`` names more connections, which have keys and balances of their
    own. ``BFL_API_KEY`` and ``BFL_API_BASE`` lead to the emulator too, so that no connection of the
    provider that is missing leads to BFL.

    :param request: the test, with its marker.
    :param flux_emulator: the emulator of the test.
    :param monkeypatch: sets the variables, and restores them after the test.
    """
    marker = request.node.get_closest_marker("flux_connection")
    for number, conn_id in enumerate(("flux_default", *(marker.args if marker else ()))):
        connection = {
            "conn_type": "flux",
            "password": _KEY + (f"_{number}" if number else ""),
            "host": flux_emulator.url,
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    monkeypatch.setenv("BFL_API_KEY", _KEY)
    monkeypatch.setenv("BFL_API_BASE", flux_emulator.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1"])))
    return "flux_default"


@pytest.fixture(scope="session")
def flux_airflow_home() -> Path:
    """Return the Airflow home of the tests.

    If the environment names no Airflow, it is a temporary folder with a new SQLite database.
    """
    try:
        return _HOME.prepare()
    except LateImportError as error:
        return pytest.fail(str(error), pytrace=False)


@pytest.fixture
def flux_run_dag(
    flux_airflow_home: Path, flux_connection: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Return a function that runs a DAG with ``dag.test()``, against the emulator.

    Its argument is the DAG, and further keyword arguments are those of ``dag.test()``. It returns
    the DAG run. A deferred task runs its trigger in the same process, so a deferral does not have
    to last for the seconds that a scheduler needs.

    :param flux_airflow_home: the home, whose database takes the run.
    :param flux_connection: the connection to the emulator.
    :param monkeypatch: shortens deferrals until the end of the test.
    """
    from airflow_provider_flux.operators import deferral
    from airflow_provider_flux.testing.dag_run import run_dag

    monkeypatch.setattr(deferral, "_MIN_DEFERRAL_SECONDS", 0.0)
    return run_dag
