"""Fixtures of the landing tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer


@pytest.fixture(scope="package")
def emulator_process() -> Iterator[EmulatorServer]:
    """Run one emulator for the folder, whose images are ready at once."""
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        yield server
