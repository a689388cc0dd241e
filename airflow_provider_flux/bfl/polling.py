"""When to ask for a result again, and when to stop: decisions only, without a clock or a socket.

The worker's wait and the trigger feed the same :class:`Poller`, so they behave the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_flux.bfl.errors import FluxError, FluxTimeoutError, FluxTransientError
from airflow_provider_flux.bfl.responses import GenerationResult, Status

#: Seconds after which to give up on a generation of a model with no typical duration.
DEFAULT_TIMEOUT = 600.0
#: Share of the time waited so far that the next wait takes: how far a poll overshoots at most.
_GROWTH = 0.1
_LONGEST_WAIT = 30.0
#: A task may be unknown for a moment, a new one above all: "Task not found" is believed after so long.
_NOT_FOUND_GRACE = 30.0
_NOT_FOUND_WAIT = 1.0
_SHORTEST_WAIT = 0.01


@dataclass(frozen=True)
class PollAgain:
    """Poll again after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Done:
    """The image is ready."""

    result: GenerationResult


@dataclass(frozen=True)
class Failed:
    """There will be no image, or not in time."""

    error: FluxError


@dataclass(frozen=True)
class Paused:
    """Not ready at ``pause_at``: whoever waited wants to do something else, and wait on elsewhere."""


PollDecision = PollAgain | Done | Failed | Paused


class Poller:
    """Decide after each poll of one generation.

    :param submitted_at: when the submit was answered; all times are epoch seconds.
    :param deadline: when to give up. The last poll is made at the deadline, never before it.
    :param poll_interval: shortest seconds between two polls. The interval grows to a tenth of the
        time waited so far, so that an image is noticed at most about 10 % late.
    :param pause_at: when to answer :class:`Paused` instead of waiting on.
    :param pace: returns the seconds until the next poll for the seconds since the submit, in place of that interval.
    :param jitter: returns a random number in [0, 1).
    :ivar pending_at: when a poll has last said that it is not ready; the submit, if none has.
    """

    def __init__(
        self,
        *,
        request_id: str,
        submitted_at: float,
        deadline: float,
        poll_interval: float,
        cost: float | None = None,
        pause_at: float | None = None,
        pace: Callable[[float], float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.request_id = request_id
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.cost = cost
        self.pause_at = pause_at
        self.pending_at = submitted_at
        self._pace = pace
        self._jitter = jitter
        self._failures = 0
        self._missing_since: float | None = None
        self._last_trouble: str | None = None

    def first_wait(self, now: float) -> float:
        """Return the seconds before the first poll: none for a generation submitted a while ago."""
        first = self.submitted_at + (self.poll_interval if self._pace is None else self._pace(0.0))
        first = min(first, self.deadline, self.pause_at or self.deadline)
        return max(0.0, first - now)

    def on_result(self, result: GenerationResult, now: float) -> PollDecision:
        """Decide on a poll that was answered with a task."""
        self._failures = 0
        if result.status.is_success:
            return Done(result)
        if result.status is Status.TASK_NOT_FOUND:
            self._missing_since = now if self._missing_since is None else self._missing_since
            if now - self._missing_since < _NOT_FOUND_GRACE:
                return PollAgain(_NOT_FOUND_WAIT)  # even past the deadline: one 404 proves nothing
        else:
            self._missing_since = None
        error = result.as_error(request_id=self.request_id, cost=self.cost)
        if error:
            return Failed(error)
        self.pending_at = now
        return self._wait(self._interval(now), now)

    def on_error(self, error: FluxError, now: float) -> PollDecision:
        """Decide on a poll that failed: transient trouble is waited out, the rest ends the wait."""
        if not isinstance(error, FluxTransientError):
            return Failed(error)
        self._failures += 1
        self._last_trouble = error.message
        backoff = min(self.poll_interval * 2 ** min(self._failures, 10), _LONGEST_WAIT) * (
            0.5 + self._jitter() / 2
        )
        return self._wait(max(backoff, self.poll_interval, error.retry_after or 0.0), now)

    def _interval(self, now: float) -> float:
        if self._pace is not None:
            return self._pace(now - self.submitted_at)
        grown = min(_GROWTH * (now - self.submitted_at), _LONGEST_WAIT)
        return max(self.poll_interval, grown) * (0.9 + 0.2 * self._jitter())

    def _wait(self, seconds: float, now: float) -> PollDecision:
        if now >= self.deadline:
            trouble = f" Last trouble: {self._last_trouble}" if self._failures else ""
            return Failed(
                FluxTimeoutError(
                    f"Request {self.request_id} was not ready at its deadline, "
                    f"{self.deadline - self.submitted_at:.0f} s after the submit. BFL has no cancel: it goes on and "
                    f"is billed; its request id and polling URL still collect it.{trouble}",
                    request_id=self.request_id,
                    cost=self.cost,
                )
            )
        if self.pause_at is not None and now >= self.pause_at:
            return Paused()
        until = min(self.deadline, self.pause_at or self.deadline)
        return PollAgain(max(min(seconds, until - now), _SHORTEST_WAIT))
