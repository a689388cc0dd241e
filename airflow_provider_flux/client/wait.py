"""The loop in which both clients wait for a generation, without its sleeps and requests."""

from __future__ import annotations

import time
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.polling import Done, Failed, PollAgain, PollDecision, Poller
from airflow_provider_flux.bfl.responses import GenerationResult

#: Seconds between two log lines while the state of a generation does not change.
_PROGRESS_SECONDS = 30.0
#: Seconds that the last poll may take, which is made at the deadline.
_LAST_POLL_SECONDS = 5.0


class WaitLoop:
    """Decide when a client polls a generation, and keep the result.

    A client sleeps for :meth:`next_delay` seconds, polls, and reports the poll with
    :meth:`on_result` or :meth:`on_error`, until :meth:`next_delay` returns ``None``.

    :param poller: decides after each poll.
    :param log: logger for the progress; ``None`` logs nothing.
    :ivar result: the result; ``None`` until the generation is ready, and if the poller paused.
    """

    def __init__(self, poller: Poller, log: Any = None) -> None:
        self.result: GenerationResult | None = None
        self._poller = poller
        self._log = log
        self._outcome: PollDecision = PollAgain(poller.first_wait(time.time()))
        self._logged_state: str | None = None
        self._logged_at = 0.0

    def next_delay(self) -> float | None:
        """Return the seconds until the next poll; ``None`` if there is none.

        :raises FluxError: the typed failure of the generation, or of the wait.
        """
        if isinstance(self._outcome, Failed):
            raise self._outcome.error
        return self._outcome.seconds if isinstance(self._outcome, PollAgain) else None

    def seconds_for_poll(self) -> float:
        """Return the seconds that the next poll may take, so that it does not outlive the wait."""
        return max(self._poller.deadline - time.time(), _LAST_POLL_SECONDS)

    def on_result(self, result: GenerationResult) -> None:
        """Decide on a poll that BFL answered.

        :param result: the answer.
        """
        percent = "" if result.progress is None else f", {result.progress:.0%}"
        self._log_progress(f"{result.status_text}{percent}", state=result.status_text)
        self._outcome = self._poller.on_result(result, time.time())
        if isinstance(self._outcome, Done):
            self.result = self._outcome.result

    def on_error(self, error: FluxError) -> None:
        """Decide on a poll that failed.

        :param error: the failure.
        """
        self._log_progress(f"poll failed: {error}", state="trouble")
        self._outcome = self._poller.on_error(error, time.time())

    def _log_progress(self, text: str, *, state: str) -> None:
        """Log a line if the state changed, and every 30 seconds."""
        if self._log is None:
            return
        now = time.monotonic()
        if state != self._logged_state or now - self._logged_at >= _PROGRESS_SECONDS:
            self._log.info("Request %s: %s", self._poller.request_id, text)
            self._logged_state, self._logged_at = state, now
