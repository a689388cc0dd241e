"""Pauses between submits while the service does not answer.

The class only decides. It has no clock and no socket.
"""

from __future__ import annotations

from airflow_provider_flux.bfl.errors import FluxError, FluxSubmitUncertainError

_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 30.0
#: Seconds after which the batch gives up a service that no request reaches.
_GIVE_UP_SECONDS = 300.0
#: Lost answers in a row, each of a submit that was possibly billed: one may be chance.
_LOST_ANSWERS_TO_OPEN = 3
_LOST_ANSWERS_TO_GIVE_UP = 8


class CircuitBreaker:
    """Holds submits back while the service is down, so that a batch does not use up its rows.

    While the breaker is open, one submit at a time probes the service. An answer closes it.
    """

    def __init__(self) -> None:
        self._opened_at: float | None = None
        self._failures = 0
        self._lost_answers = 0
        self._retry_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether submits are held back."""
        return self._opened_at is not None

    def seconds_until_retry(self, now: float) -> float:
        """Return the seconds until one submit may be tried, 0 if it may be tried now.

        :param now: current time in seconds of a monotonic clock.
        """
        return max(self._retry_at - now, 0.0) if self.is_open else 0.0

    def record_answer(self) -> None:
        """Close the breaker after an answer that shows whether a submit was accepted."""
        self._opened_at, self._failures, self._lost_answers = None, 0, 0

    def record_failure(self, error: FluxError, now: float) -> bool:
        """Count a submit without such an answer, and open the breaker after several of them.

        :param error: :class:`FluxSubmitUncertainError` if the submit was possibly billed. Any other
            error opens the breaker at once.
        :param now: current time in seconds of a monotonic clock.
        :return: whether to give up.
        """
        if isinstance(error, FluxSubmitUncertainError):
            self._lost_answers += 1
            if self._lost_answers < _LOST_ANSWERS_TO_OPEN:
                return False

        self._opened_at = now if self._opened_at is None else self._opened_at
        backoff = _BACKOFF_SECONDS * 2.0 ** min(self._failures, 10)
        self._retry_at = now + min(backoff, _MAX_BACKOFF_SECONDS)
        self._failures += 1
        is_waste = self._lost_answers >= _LOST_ANSWERS_TO_GIVE_UP
        return is_waste or now - self._opened_at >= _GIVE_UP_SECONDS
