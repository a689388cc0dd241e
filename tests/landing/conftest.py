"""What lands is looked at here, and not how long it is waited for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer


@pytest.fixture(scope="package")
def emulator_process() -> Iterator[EmulatorServer]:
    """One emulator for the folder, whose images take no time."""
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        yield server
