"""A program of a user without DAGs: both clients and the emulator, as a type checker sees them."""

from __future__ import annotations

from airflow_provider_flux.client import FluxAsyncClient, FluxClient
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer


def balance(client: FluxClient) -> float:
    """Return the credits of the account."""
    return client.get_credits()


async def is_ready(client: FluxAsyncClient, request_id: str) -> bool:
    """Whether a request is ready."""
    result = await client.get_result(request_id)
    return result.status == "Ready"


def run_emulator() -> str:
    """Start and stop the emulator."""
    with EmulatorServer(EmulatorConfig(latency=0.5)) as server:
        url: str = server.url
    return url


def wrong(client: FluxClient) -> str:
    """Return a number as text."""
    return client.get_credits()  # type: ignore[return-value]
