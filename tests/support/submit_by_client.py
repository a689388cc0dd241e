"""Submit through either of the two clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.responses import GenerationResult, Submission
from airflow_provider_flux.hooks.flux import FluxHook
from tests.support.sample_media import MIB
from tests.support.scripted_host import Exchange

#: More than the buffers of both sockets hold, so that a client notices when nobody reads.
LARGE_BYTES = 12 * MIB

#: Submits a model with its parameters; ``max_wait`` as the clients take it.
Submit = Callable[..., Submission]


def submit_by_hook(model: str, parameters: Mapping[str, Any], **options: Any) -> Submission:
    """Submit through the hook, as a worker does."""
    hook = FluxHook()
    return hook.submit(hook.build_request(model, parameters), **options)


def submit_by_async_client(model: str, parameters: Mapping[str, Any], **options: Any) -> Submission:
    """Submit through the asynchronous client, as a triggerer could."""

    async def submit() -> Submission:
        hook = FluxHook()
        with hook.prepare_inputs(hook.build_request(model, parameters)) as request:
            async with hook.async_client() as client:
                return await client.submit(request, **options)

    return asyncio.run(submit())


def wait_by_hook(submission: Submission, **options: Any) -> GenerationResult:
    """Wait for a submission through the hook; ``options`` are those of the poller."""
    poller = new_poller(submission, **options)
    return FluxHook().get_conn().wait(poller, submission.polling_url)


def new_poller(submission: Submission, **options: Any) -> Poller:
    """Return a poller that gives up after 60 seconds; ``options`` replace its arguments."""
    values = {"deadline": time.time() + 60, "poll_interval": 0.1, **options}
    return Poller(
        request_id=submission.request_id,
        submitted_at=submission.submitted_at,
        cost=submission.cost,
        **values,
    )


both_clients = pytest.mark.parametrize("submit", [submit_by_hook, submit_by_async_client])


def answer_accepted(exchange: Exchange) -> None:
    """Answer as BFL does when it takes a request."""
    exchange.read()
    exchange.send_json({"id": "r-1", "polling_url": f"{exchange.host.url}/v1/get_result?id=r-1"})
