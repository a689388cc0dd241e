"""Submit through either of the two clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import Submission
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.hooks.flux import FluxHook
from tests.support.sample_media import MIB
from tests.support.scripted_host import Exchange

#: More than the buffers of both sockets hold, so that a client notices when nobody reads.
LARGE = 12 * MIB

#: Submits a model with its parameters; ``max_wait`` as the clients take it.
Submit = Callable[..., Submission]


def over_requests(model: str, parameters: Mapping[str, Any], **options: Any) -> Submission:
    """Submit as a worker does."""
    return FluxHook().submit(model, parameters, **options)


def over_aiohttp(model: str, parameters: Mapping[str, Any], **options: Any) -> Submission:
    """Submit as a triggerer could."""

    async def submit() -> Submission:
        hook = FluxHook()
        with hook.prepared(build_request(model, parameters, models=known_models())) as request:
            async with hook.async_client() as client:
                return await client.submit(request, **options)

    return asyncio.run(submit())


both_clients = pytest.mark.parametrize("submit", [over_requests, over_aiohttp])


def accept(exchange: Exchange) -> None:
    """Answer as BFL does when it takes a request."""
    exchange.read()
    exchange.send_json({"id": "r-1", "polling_url": f"{exchange.host.url}/v1/get_result?id=r-1"})
