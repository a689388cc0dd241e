"""Clients of the BFL API that work without Airflow.

They submit, poll, wait and download, and call the routes of the account.

:class:`FluxClient` is synchronous and :class:`FluxAsyncClient` runs on an event loop. They are
imported when they are first used, so that no program loads the HTTP library of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_flux.client.aio import FluxAsyncClient
    from airflow_provider_flux.client.sync import FluxClient

__all__ = ["FluxAsyncClient", "FluxClient"]


def __getattr__(name: str) -> Any:
    if name == "FluxClient":
        from airflow_provider_flux.client.sync import FluxClient

        return FluxClient
    if name == "FluxAsyncClient":
        from airflow_provider_flux.client.aio import FluxAsyncClient

        return FluxAsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
