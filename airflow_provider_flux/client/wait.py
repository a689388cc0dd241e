"""Wait for a generation on this thread, with progress in the task log."""

from __future__ import annotations

import time
from typing import Any

from airflow_provider_flux.bfl import protocol
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.polling import Done, Failed, Paused, PollDecision, Poller
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.client.transport import RequestsTransport

#: Seconds between two progress lines in the task log while nothing changes.
_PROGRESS_EVERY = 30.0


class Waiter:
    """Poll one generation until its poller has decided.

    :param described: the request that asks for the result.
    :param log: logger of the task.
    """

    def __init__(
        self,
        poller: Poller,
        described: protocol.HttpRequest,
        transport: RequestsTransport,
        log: Any,
    ) -> None:
        self._poller = poller
        self._described = described
        self._transport = transport
        self._log = log
        self._state: str | None = None
        self._told_at = 0.0

    def wait(self) -> GenerationResult | None:
        """Return the result, or ``None`` when it is time to pause.

        :raises FluxError: the typed failure of the generation, or of the wait.
        """
        delay = self._poller.first_wait(time.time())
        while True:
            time.sleep(delay)
            outcome = self._poll()
            if isinstance(outcome, Done):
                return outcome.result
            if isinstance(outcome, Failed):
                raise outcome.error
            if isinstance(outcome, Paused):
                return None
            delay = outcome.seconds

    def _poll(self) -> PollDecision:
        try:
            result = protocol.read_result(self._transport.send(self._described))
        except FluxError as error:
            self._tell(f"poll failed: {error}", state="trouble")
            return self._poller.on_error(error, time.time())
        percent = "" if result.progress is None else f", {result.progress:.0%}"
        self._tell(f"{result.status_text}{percent}", state=result.status_text)
        return self._poller.on_result(result, time.time())

    def _tell(self, text: str, *, state: str) -> None:
        """Write a line when something changes, and now and then."""
        now = time.monotonic()
        if state != self._state or now - self._told_at >= _PROGRESS_EVERY:
            self._log.info("Request %s: %s", self._poller.request_id, text)
            self._state, self._told_at = state, now
