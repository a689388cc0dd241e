"""A local BFL service for tests and demonstrations: same schemas, same answers, scripted faults.

``python -m airflow_provider_flux.emulator`` runs it; :class:`EmulatorServer` runs it inside a test.
"""

from __future__ import annotations

from airflow_provider_flux.emulator.config import EmulatorConfig

try:
    from airflow_provider_flux.emulator.server import EmulatorServer
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"fastapi", "starlette", "uvicorn"}:
        raise
    raise ImportError(
        f"The emulator needs the package {error.name}, which is not installed. Install it: "
        "pip install 'airflow-provider-flux[emulator]'",
        name=error.name,
    ) from None

__all__ = ["EmulatorConfig", "EmulatorServer"]
