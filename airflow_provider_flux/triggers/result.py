"""FluxResultTrigger: wait for a generation on the triggerer, without a worker slot, and land it there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxRequestError,
    FluxResultExpiredError,
    FluxTaskNotFoundError,
    FluxTriggerEventError,
)
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.generation import (
    Generation,
    describe_cost,
    parse_generation,
    poller_for,
    with_result,
)
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.triggers.landing import Landing
from airflow_provider_flux.triggers.task_state import has_returned, read_task_state

if TYPE_CHECKING:
    from airflow_provider_flux.client.aio import FluxAsyncClient

#: States of a task that nobody collects for.
_ENDED = frozenset({"failed", "success", "skipped", "removed"})
#: How often, and for how many seconds, a killed trigger may be cancelled before it has said so.
_CANCELS, _TELLING_SECONDS = 10, 10.0


class FluxResultTrigger(BaseTrigger):
    """Poll one generation until it ends, and fire exactly one event.

    It pays for nothing, and everything it knows is in its arguments, so it may be restarted, moved or run
    twice at any time. Arguments and event are stored by Airflow: they hold ids, times and, in ``landing_plan``,
    the parameters of the request, never the key or the signed URL.

    With a ``landing_plan`` the image is landed the moment it is ready: its URL dies after ten minutes, and a
    worker slot may take longer to come. With a ``record`` that is written down, so it is not landed twice.

    The event is one of

    - ``{"status": "landed", "generation": {...}}``
    - ``{"status": "ready", "generation": {...}}``: not landed; ``reason`` says why if it should have been
    - ``{"status": "error", "error": {"type", "message", ...}, "generation": {...}}``
    - ``{"status": "hand_over", "reason": ..., "generation": {...}}``: the triggerer cannot wait for it
      (it has no access to the connection, say), the worker should.

    :param flux_conn_id: connection to poll with.
    :param generation: record of the submitted generation.
    :param deadline: epoch seconds after which to give up; a last poll is made then.
    :param not_before: epoch seconds before which no event is fired. An event within seconds of the
        deferral can make Airflow's scheduler fail the task (apache/airflow issues 71580, 72716).
    :param poll_interval: shortest seconds between polls.
    :param landing_plan: where to land the image, as
        :class:`~airflow_provider_flux.landing.plan.LandingPlan` in JSON.
    :param record: URI of the record in the ledger.
    """

    def __init__(
        self,
        *,
        flux_conn_id: str,
        generation: Generation,
        deadline: float,
        not_before: float = 0.0,
        poll_interval: float = 0.5,
        landing_plan: Mapping[str, Any] | None = None,
        record: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flux_conn_id = flux_conn_id
        self.generation = generation
        self.deadline = deadline
        self.not_before = not_before
        self.poll_interval = poll_interval
        self.landing_plan = landing_plan
        self.record = record

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, as JSON."""
        return (
            f"{FluxResultTrigger.__module__}.{FluxResultTrigger.__qualname__}",
            {
                "flux_conn_id": self.flux_conn_id,
                "generation": dict(self.generation),
                "deadline": self.deadline,
                "not_before": self.not_before,
                "poll_interval": self.poll_interval,
                "landing_plan": self.landing_plan,
                "record": self.record,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire the one event."""
        event = await self._wait()
        await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        try:
            return await self._poll_and_land()
        except FluxConfigurationError as error:
            return self._hand_over(f"the triggerer cannot use the connection: {error}")
        except FluxError as error:
            return {
                "status": "error",
                "error": error.as_dict(),
                "generation": dict(self.generation),
            }
        except Exception as error:
            # A trigger that raises fails its task, and the image would be paid for and lost.
            self.log.warning(
                "Request %s: unexpected %s", self.generation["request_id"], type(error).__name__
            )
            return self._hand_over(f"the triggerer met an unexpected {type(error).__name__}")

    async def _poll_and_land(self) -> dict[str, Any]:
        hook = FluxHook(self.flux_conn_id)
        # Not asyncio.to_thread: before Airflow 3.2.2 a call to the supervisor from a foreign thread breaks the
        # triggerer's channel for all its triggers.
        await sync_to_async(hook.prepare_async)()
        async with hook.async_client() as client:
            try:
                result = await self._poll(client)
            except (FluxTaskNotFoundError, FluxResultExpiredError):
                if landed := await self._landing.find_landed():
                    return {"status": "landed", "generation": dict(landed)}
                raise
            event = {"status": "ready", "generation": dict(with_result(self.generation, result))}
            if self.landing_plan is None:
                return event
            try:
                landed = await self._landing.land(client, result, lambda: self._poll(client))
                return {"status": "landed", "generation": dict(landed)}
            except Exception as error:
                # Whatever it is, the worker tries again, with its own access to the store, and says it for good.
                said = redact(str(error)) if isinstance(error, FluxError) else "unexpected"
                reason = f"the triggerer could not land the image ({type(error).__name__}: {said})"
                self.log.warning("Request %s: %s", self.generation["request_id"], reason)
                return {**event, "reason": reason}

    async def _poll(self, client: FluxAsyncClient) -> GenerationResult:
        poller = poller_for(
            self.generation, deadline=self.deadline, poll_interval=self.poll_interval
        )
        return await client.wait(poller, self.generation["polling_url"])

    async def on_kill(self) -> None:
        """Say what goes on when the task is ended while its image is in flight: BFL has no cancel.

        Airflow 3.3 and newer call it when a user marks the task or clears it, but also when the trigger moves to
        another triggerer (apache/airflow pull request 73454): then the task goes on, and nothing is said. They
        cancel it when it takes more than a second, which on a busy machine it does.
        """
        telling = asyncio.ensure_future(self._tell_of_end())
        for _ in range(_CANCELS):
            with suppress(asyncio.CancelledError):
                await asyncio.wait({telling}, timeout=_TELLING_SECONDS)
                break

    async def _tell_of_end(self) -> None:
        # In threads of its own: triggers that open a store may hold the one of sync_to_async.
        state = await asyncio.to_thread(read_task_state, self.task_instance)
        if state not in _ENDED:
            return
        request_id = self.generation["request_id"]
        if state == "success" and await asyncio.to_thread(
            has_returned, self.task_instance, request_id
        ):
            return  # it went on elsewhere, and has ended well
        self.log.warning(
            "The task has ended as %s while request %s was waited for. BFL has no cancel: it goes on, billed (%s). "
            "Where it is on record, clearing the task or `airflow flux recover` collects it without paying again.",
            state,
            request_id,
            describe_cost(self.generation),
        )

    @cached_property
    def _landing(self) -> Landing:
        return Landing(self.generation, self.landing_plan, self.record)

    def _hand_over(self, reason: str) -> dict[str, Any]:
        return {"status": "hand_over", "reason": reason, "generation": dict(self.generation)}


def read_event(event: Any) -> Generation:
    """Return the record a trigger event carries.

    :raises FluxTriggerEventError: if the event is not one of :class:`FluxResultTrigger`.
    """
    if isinstance(event, Mapping) and event.get("status") in {
        "landed",
        "ready",
        "error",
        "hand_over",
    }:
        try:
            return parse_generation(event.get("generation"))
        except FluxRequestError:
            pass
    shown = sorted(event) if isinstance(event, Mapping) else type(event).__name__
    raise FluxTriggerEventError(
        f"The task was resumed with an event that is not of this provider: {shown}"
    )
