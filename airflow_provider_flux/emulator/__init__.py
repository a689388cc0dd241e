"""A local BFL service for tests and demonstrations: same schemas, same answers, scripted faults.

``python -m airflow_provider_flux.emulator`` runs it; :class:`EmulatorServer` runs it inside a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_flux.emulator.config import EmulatorConfig
    from airflow_provider_flux.emulator.server import EmulatorServer

__all__ = ["EmulatorConfig", "EmulatorServer"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: ``airflow --help`` needs the options alone."""
    if name == "EmulatorConfig":
        from airflow_provider_flux.emulator.config import EmulatorConfig

        return EmulatorConfig
    if name != "EmulatorServer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
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
    return EmulatorServer
