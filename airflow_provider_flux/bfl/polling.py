"""Decisions about polling, without a clock or a socket: when to poll again, and when to stop.

Both clients and the trigger use the same :class:`Poller`, so they behave the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxServiceError,
    FluxTimeoutError,
    FluxTransientError,
    error_from_dict,
)
from airflow_provider_flux.bfl.quotes import hide_detail
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.bfl.status import Status

#: The next interval, as a share of the time since the submit. It bounds the delay of the last poll.
_GROWTH = 0.1
_MAX_INTERVAL_SECONDS = 30.0
#: A new generation may be unknown for a moment, so "Task not found" counts only after this time.
_NOT_FOUND_GRACE_SECONDS = 30.0
_NOT_FOUND_INTERVAL_SECONDS = 1.0
#: BFL may say *Ready* before it names the image, so a missing image counts only after this time.
_NO_IMAGE_GRACE_SECONDS = 60.0
_NO_IMAGE_INTERVAL_SECONDS = 1.0
_MIN_INTERVAL_SECONDS = 0.01
_WEBHOOK_FREQUENT_SECONDS = 2.0


@dataclass(frozen=True)
class PollAgain:
    """Poll again after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Done:
    """The generation is ready.

    :param result: the answer of the last poll.
    """

    result: GenerationResult


@dataclass(frozen=True)
class Failed:
    """The generation ended without a result, or is not ready at the deadline.

    :param error: the typed error.
    """

    error: FluxError


@dataclass(frozen=True)
class Paused:
    """The generation is not ready at ``pause_at``. The caller continues to wait elsewhere."""


PollDecision = PollAgain | Done | Failed | Paused


@dataclass(frozen=True)
class WebhookPace:
    """Intervals of the polls of a generation whose end a webhook reports.

    Polls remain the truth: a webhook may be lost. They are frequent until a webhook can have an
    effect, so that none is missed that came before.

    :param frequent_until: seconds since the submit until which polls are frequent.
    :param poll_interval: shortest seconds between two polls until then. They are at least 2.
    :param interval: seconds between two polls after that. Each differs by up to a tenth.
    :param jitter: returns a random number in [0, 1).
    """

    frequent_until: float
    poll_interval: float
    interval: float
    jitter: Callable[[], float] = random.random

    def __call__(self, waited: float) -> float:
        """Return the seconds until the next poll.

        :param waited: seconds since the submit.
        """
        if waited < self.frequent_until:
            return max(self.poll_interval, _WEBHOOK_FREQUENT_SECONDS)
        return self.interval * (0.9 + 0.2 * self.jitter())


class Poller:
    """The decisions about polling one generation.

    :param request_id: id of the generation, for messages.
    :param submitted_at: when the submit was answered. All times are epoch seconds.
    :param deadline: when to stop. The last poll is made at the deadline, not before it.
    :param poll_interval: least seconds between two polls. The interval grows to a tenth of the time
        since the submit, so a result is noticed at most about 10 % late.
    :param cost: credits reported at the submit, for errors.
    :param pause_at: when to return :class:`Paused`. ``None`` waits until the deadline.
    :param pace: returns the seconds until the next poll for the seconds since the submit. It
        replaces ``poll_interval`` and its growth.
    :param jitter: returns a random number in [0, 1).
    :param hide_texts: leave the texts of BFL out of errors, because they may quote the prompt.
    :ivar pending_at: when a poll last answered that the generation is not ready; the submit, if
        none has.
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
        hide_texts: bool = False,
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
        self._hide_texts = hide_texts
        self._failures = 0
        self._missing_since: float | None = None
        self._no_image_since: float | None = None
        self._last_error: str | None = None

    def first_wait(self, now: float) -> float:
        """Return the seconds before the first poll: 0 if the generation was submitted a while ago.

        The wait is never longer than that of a new generation: if the submit seems to be in the
        future, the clocks of two machines differ.

        :param now: epoch seconds.
        """
        longest = self.poll_interval if self._pace is None else self._pace(0.0)
        first = self.submitted_at + longest
        first = min(first, self.deadline, self.pause_at or self.deadline)
        return min(max(0.0, first - now), longest)

    def on_result(self, result: GenerationResult, now: float) -> PollDecision:
        """Decide after a poll that the service answered.

        :param result: the answer.
        :param now: when it arrived, in epoch seconds.
        """
        self._failures = 0
        if self._hide_texts:
            result = result.without_texts()
        if result.status.is_success:
            return Done(result) if result.sample else self._wait_for_image(now)
        self._no_image_since = None
        if result.status is Status.TASK_NOT_FOUND:
            self._missing_since = now if self._missing_since is None else self._missing_since
            if now - self._missing_since < _NOT_FOUND_GRACE_SECONDS:
                # A single 404 proves nothing, so ask again even after the deadline.
                return PollAgain(_NOT_FOUND_INTERVAL_SECONDS)
        else:
            self._missing_since = None
        error = result.as_error(request_id=self.request_id, cost=self.cost)
        if error:
            return Failed(error)
        self.pending_at = now
        return self._wait(self._interval(now), now)

    def _wait_for_image(self, now: float) -> PollDecision:
        """Decide after a poll that says *Ready* and names no image: poll again, also when late."""
        self.pending_at = now
        self._no_image_since = now if self._no_image_since is None else self._no_image_since
        if now - self._no_image_since < _NO_IMAGE_GRACE_SECONDS:
            return PollAgain(_NO_IMAGE_INTERVAL_SECONDS)
        return Failed(
            FluxServiceError(
                f"BFL reports request {self.request_id} as Ready, and named no image for "
                f"{_NO_IMAGE_GRACE_SECONDS:.0f} s. BFL has billed it. A later poll, which is free, "
                "may return the image.",
                request_id=self.request_id,
                cost=self.cost,
            )
        )

    def on_error(self, error: FluxError, now: float) -> PollDecision:
        """Decide after a poll that failed: retry a temporary failure, and stop at any other.

        :param error: the error of the poll.
        :param now: when it occurred, in epoch seconds.
        """
        if not isinstance(error, FluxTransientError):
            return Failed(self._without_texts(error))
        self._failures += 1
        self._last_error = hide_detail(error.message) if self._hide_texts else error.message
        backoff = min(self.poll_interval * 2 ** min(self._failures, 10), _MAX_INTERVAL_SECONDS) * (
            0.5 + self._jitter() / 2
        )
        return self._wait(max(backoff, self.poll_interval, error.retry_after or 0.0), now)

    def _without_texts(self, error: FluxError) -> FluxError:
        message = hide_detail(error.message)
        if not self._hide_texts or message == error.message:
            return error
        return error_from_dict({**error.as_dict(), "message": message})

    def _interval(self, now: float) -> float:
        if self._pace is not None:
            return self._pace(max(0.0, now - self.submitted_at))
        grown = min(_GROWTH * (now - self.submitted_at), _MAX_INTERVAL_SECONDS)
        return max(self.poll_interval, grown) * (0.9 + 0.2 * self._jitter())

    def _wait(self, seconds: float, now: float) -> PollDecision:
        if now >= self.deadline:
            return Failed(self._timeout())
        if self.pause_at is not None and now >= self.pause_at:
            return Paused()
        until = min(self.deadline, self.pause_at or self.deadline)
        return PollAgain(max(min(seconds, until - now), _MIN_INTERVAL_SECONDS))

    def _timeout(self) -> FluxTimeoutError:
        waited = self.deadline - self.submitted_at
        last_error = f" Last error: {self._last_error}" if self._failures else ""
        return FluxTimeoutError(
            f"Request {self.request_id} was not ready at its deadline, {waited:.0f} s after the "
            "submit. BFL has no cancel: it finishes and bills the request. Its result can still be "
            f"landed by its request id and polling URL.{last_error}",
            request_id=self.request_id,
            cost=self.cost,
        )
