"""FluxResultTrigger: wait for a generation on the triggerer, and land it there."""

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
from airflow_provider_flux.bfl.polling import WebhookPace
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.generation import (
    Generation,
    describe_cost,
    poller_for,
    submitted_epoch,
    wait_start,
    with_result,
)
from airflow_provider_flux.generation_input import parse_generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.triggers.recorded_landing import RecordedLanding
from airflow_provider_flux.triggers.task_state import has_returned, read_task_state

if TYPE_CHECKING:
    from airflow_provider_flux.client.aio import FluxAsyncClient

#: Final states of a task. No try resumes its generation.
_FINAL_STATES = frozenset({"failed", "success", "skipped", "removed"})
#: Number of times that Airflow may cancel a killed trigger while it reports the end of its task.
_MAX_CANCELS = 10
#: Seconds to wait for that report after each of them.
_REPORT_SECONDS = 10.0
_STATUSES = frozenset({"landed", "ready", "error", "hand_over", "notified"})
#: Seconds after ``not_before`` in which a webhook may have arrived too early for its task.
_WEBHOOK_MARGIN_SECONDS = 2.0


class FluxResultTrigger(BaseTrigger):
    """Poll one generation until it ends, and fire exactly one event.

    The trigger submits nothing, and its arguments hold all of its state. Airflow may restart it,
    move it to another triggerer, or run it twice at any time. Airflow stores arguments and event:
    they hold ids, times and, in ``landing_plan``, the parameters of the request, but never the API
    key or a signed URL.

    With a ``landing_plan`` the trigger lands the image as soon as it is ready. The signed URL of an
    image may live for ten minutes only, and the task may wait longer than that for a worker slot.
    With a ``record_uri`` it records the landing in the ledger, so that no other triggerer repeats
    it.

    The event that resumes the task is one of these:

    - ``{"status": "landed", "generation": {...}}``: the image is in the store.
    - ``{"status": "ready", "generation": {...}}``: the image is ready. If the trigger could not
      land it, ``reason`` says why.
    - ``{"status": "error", "error": {"type", "message", ...}, "generation": {...}}``: the
      generation, or the wait for it, failed.
    - ``{"status": "hand_over", "reason": ..., "generation": {...}}``: the triggerer cannot wait,
      for example because it cannot read the connection. The worker has to.

    - ``{"status": "notified", "generation": {...}}``: not from the trigger, but from the webhook
      receiver in the API server. BFL reported the end of the generation.

    The first two may have ``timings`` for metrics: the epoch seconds ``ready_at`` and
    ``landed_at``, and ``is_exact``, whether a poll of the trigger saw the generation pending.

    :param flux_conn_id: id of the connection to poll with.
    :param generation: the submitted generation.
    :param deadline: epoch seconds at which to give up, after a last poll.
    :param not_before: epoch seconds before which the trigger fires no event. An event within
        seconds of the deferral can make Airflow's scheduler fail the task (apache/airflow issues
        71580, 72716). Default 0.
    :param poll_interval: shortest seconds between two polls. Default 0.5.
    :param landing_plan: :class:`~airflow_provider_flux.landing.plan.LandingPlan` as JSON; ``None``
        lands nothing.
    :param record_uri: URI of the record in the ledger; ``None`` if it is no file.
    :param hide_texts: leave the texts of BFL out of the event, because they may quote the prompt.
    :param webhook_interval: seconds between two polls once a webhook can resume the task, which is
        after ``not_before``; ``None`` if none will.
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
        record_uri: str | None = None,
        hide_texts: bool = False,
        webhook_interval: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flux_conn_id = flux_conn_id
        self.generation = generation
        self.deadline = deadline
        self.not_before = not_before
        self.poll_interval = poll_interval
        self.landing_plan = landing_plan
        self.record_uri = record_uri
        self.hide_texts = hide_texts
        self.webhook_interval = webhook_interval
        #: Whether a poll of this trigger found the generation not ready yet.
        self._has_seen_pending = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class, and the arguments as JSON."""
        return (
            f"{FluxResultTrigger.__module__}.{FluxResultTrigger.__qualname__}",
            {
                "flux_conn_id": self.flux_conn_id,
                "generation": dict(self.generation),
                "deadline": self.deadline,
                "not_before": self.not_before,
                "poll_interval": self.poll_interval,
                "landing_plan": self.landing_plan,
                "record_uri": self.record_uri,
                "hide_texts": self.hide_texts,
                "webhook_interval": self.webhook_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the generation, then fire the one event."""
        event = await self._wait()
        await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        """Return the event. A trigger that raises would fail its task, and lose the image."""
        try:
            return await self._poll_and_land()
        except FluxConfigurationError as error:
            return self._event(
                "hand_over", reason=f"the triggerer cannot use the connection: {error}"
            )
        except FluxError as error:
            return self._event("error", error=error.as_dict())
        except Exception as error:
            name = type(error).__name__
            self.log.warning("Request %s: unexpected %s", self.generation["request_id"], name)
            return self._event("hand_over", reason=f"the triggerer met an unexpected {name}")

    async def _poll_and_land(self) -> dict[str, Any]:
        hook = FluxHook(self.flux_conn_id)
        # Not asyncio.to_thread: before Airflow 3.2.2 a call to the supervisor from another thread
        # breaks the channel of the triggerer for all its triggers.
        await sync_to_async(hook.prepare_async)()
        async with hook.async_client() as client:
            try:
                result = await self._poll(client)
            except (FluxTaskNotFoundError, FluxResultExpiredError):
                if landed := await self._landing.find_landed():
                    return self._event("landed", landed)
                raise
            timings = {"ready_at": time.time(), "is_exact": self._has_seen_pending}
            generation = with_result(self.generation, result)
            if self.landing_plan is None:
                return self._event("ready", generation, timings=timings)
            try:
                landed = await self._landing.land(client, result, lambda: self._poll(client))
                timings["landed_at"] = time.time()
                return self._event("landed", landed, timings=timings)
            except Exception as error:  # the worker tries again, and raises what remains
                message = redact(str(error)) if isinstance(error, FluxError) else "unexpected"
                details = f"{type(error).__name__}: {message}"
                reason = f"the triggerer could not land the image ({details})"
                self.log.warning("Request %s: %s", generation["request_id"], reason)
                return self._event("ready", generation, reason=reason, timings=timings)

    async def _poll(self, client: FluxAsyncClient) -> GenerationResult:
        # If the clock of this machine is behind, the submit seems to be in the future. The deadline
        # is as far in the future then.
        start = wait_start(self.generation, time.time())
        ahead = submitted_epoch(self.generation) - start
        poller = poller_for(
            self.generation,
            deadline=self.deadline - ahead,
            poll_interval=self.poll_interval,
            pace=self._pace_from(start),
            hide_texts=self.hide_texts,
        )
        pending_at = poller.pending_at
        try:
            return await client.wait(poller, self.generation["polling_url"])
        finally:
            self._has_seen_pending = poller.pending_at != pending_at

    def _pace_from(self, start: float) -> WebhookPace | None:
        """Return the intervals of polls beside a webhook; ``None`` if there is no webhook."""
        if self.webhook_interval is None:
            return None
        until = self.not_before + _WEBHOOK_MARGIN_SECONDS - start
        return WebhookPace(until, self.poll_interval, self.webhook_interval)

    @cached_property
    def _landing(self) -> RecordedLanding:
        return RecordedLanding(self.generation, self.landing_plan, self.record_uri)

    def _event(
        self, status: str, generation: Generation | None = None, **details: Any
    ) -> dict[str, Any]:
        return {"status": status, "generation": dict(generation or self.generation), **details}

    async def on_kill(self) -> None:
        """Log that the request goes on, if its task ended meanwhile: BFL has no cancel.

        Airflow 3.3 and newer call this when a user marks the task or clears it. They also call it
        when the trigger moves to another triggerer (apache/airflow pull request 73454). Then the
        task goes on, and the trigger logs nothing. Airflow cancels a call that takes more than a
        second, as it may on a busy machine, so the report survives some cancellations.
        """
        report = asyncio.ensure_future(self._report_end())
        for _ in range(_MAX_CANCELS):
            with suppress(asyncio.CancelledError):
                await asyncio.wait({report}, timeout=_REPORT_SECONDS)
                break

    async def _report_end(self) -> None:
        # On threads of their own: triggers that open a store may hold the one of sync_to_async.
        state = await asyncio.to_thread(read_task_state, self.task_instance)
        if state not in _FINAL_STATES:
            return
        request_id = self.generation["request_id"]
        if state == "success" and await asyncio.to_thread(
            has_returned, self.task_instance, request_id
        ):
            return  # the task went on elsewhere, and ended well
        self.log.warning(
            "The task has ended as %s while this trigger waited for request %s. BFL has no cancel: "
            "the request goes on and is billed (%s). If it is on record, clear the task, or run "
            "`airflow flux recover`, to land the image without paying again.",
            state,
            request_id,
            describe_cost(self.generation),
        )


def read_event(event: Any) -> Generation:
    """Return the generation of a trigger event.

    :param event: event that resumed a task.
    :raises FluxTriggerEventError: if it is no event of :class:`FluxResultTrigger`.
    """
    if isinstance(event, Mapping) and event.get("status") in _STATUSES:
        with suppress(FluxRequestError):
            return parse_generation(event.get("generation"))
    content = sorted(event) if isinstance(event, Mapping) else type(event).__name__
    raise FluxTriggerEventError(
        f"The task was resumed with an event that is not of this provider: {content}"
    )
