"""FluxCreditsTrigger: wait on the triggerer until an account has enough credits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxTransientError,
    FluxTriggerEventError,
    error_from_dict,
)
from airflow_provider_flux.hooks.flux import FluxHook


class FluxCreditsTrigger(BaseTrigger):
    """Read the balance of an account until it is high enough, and fire exactly one event.

    BFL does not bill these reads. After a temporary failure the trigger logs a warning and reads
    again. The event is one of these:

    - ``{"status": "enough", "credits": 120.5}``
    - ``{"status": "error", "error": {"type", "message", ...}}``: waiting longer does not help, for
      example because BFL refuses the key.

    :param flux_conn_id: id of the connection of the account.
    :param minimum: credits to wait for (1 credit = 0.01 USD).
    :param poke_interval: seconds between two reads. Default 60.
    """

    def __init__(self, *, flux_conn_id: str, minimum: float, poke_interval: float = 60.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flux_conn_id = flux_conn_id
        self.minimum = minimum
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class, and the arguments as JSON."""
        return (
            f"{FluxCreditsTrigger.__module__}.{FluxCreditsTrigger.__qualname__}",
            {
                "flux_conn_id": self.flux_conn_id,
                "minimum": self.minimum,
                "poke_interval": self.poke_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the credits, then fire the one event."""
        try:
            event = {"status": "enough", "credits": await self._wait()}
        except FluxConfigurationError as error:
            message = f"The triggerer cannot use the connection: {error}"
            event = {"status": "error", "error": {**error.as_dict(), "message": message}}
        except FluxError as error:
            event = {"status": "error", "error": error.as_dict()}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> float:
        """Return the balance as soon as it is high enough."""
        hook = FluxHook(self.flux_conn_id)
        # Not asyncio.to_thread: before Airflow 3.2.2 a call to the supervisor from another thread
        # breaks the channel of the triggerer for all its triggers.
        await sync_to_async(hook.prepare_async)()
        async with hook.async_client() as client:
            while True:
                await asyncio.sleep(self.poke_interval)
                try:
                    balance = await client.get_credits(retry=False)
                except FluxTransientError as error:
                    self.log.warning("The balance could not be read: %s", error)
                    continue
                if balance >= self.minimum:
                    return balance


def read_credits_event(event: Any) -> float:
    """Return the balance of a trigger event.

    :param event: event that resumed a task.
    :raises FluxTriggerEventError: if it is no event of :class:`FluxCreditsTrigger`.
    :raises FluxError: the error that ended the trigger.
    """
    match event:
        case {"status": "enough", "credits": int() | float() as balance}:
            return balance
        case {"status": "error", "error": Mapping() as error}:
            raise error_from_dict(error)
    content = sorted(event) if isinstance(event, Mapping) else type(event).__name__
    raise FluxTriggerEventError(
        f"The task was resumed with an event that is not of this provider: {content}"
    )
