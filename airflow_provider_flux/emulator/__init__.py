"""A local BFL service for tests and demonstrations: same schemas, same answers, scripted faults.

``python -m airflow_provider_flux.emulator`` runs it; :class:`EmulatorServer` runs it inside a test.
"""

from __future__ import annotations

from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.server import EmulatorServer

__all__ = ["EmulatorConfig", "EmulatorServer"]
