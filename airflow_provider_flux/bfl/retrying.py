"""Which calls may be made again, and when: never one that could be paid twice.

Arguments for tenacity's ``Retrying`` and ``AsyncRetrying``, so that the hook and the async client
follow one policy.
"""

from __future__ import annotations

from typing import Any

from tenacity import (
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from airflow_provider_flux.bfl.errors import FluxConnectionError, FluxRateLimitedError, FluxTransientError

_BACKOFF = wait_random_exponential(multiplier=1, min=0.5, max=30)
_CONNECTION_ATTEMPTS = 4
_READ_ATTEMPTS = 5


def submit_retries(max_wait: float) -> dict[str, Any]:
    """Return the policy of a submit: again only after a 429, or when nothing was sent.

    :param max_wait: seconds to keep trying against 429; an unreachable host is given up sooner.
    """
    return {
        "retry": retry_if_exception_type((FluxRateLimitedError, FluxConnectionError)),
        "wait": _wait,
        "stop": _StopSubmit(max_wait),
        "reraise": True,
    }


def read_retries() -> dict[str, Any]:
    """Return the policy of calls that only read: a few times after transient trouble."""
    return {
        "retry": retry_if_exception_type(FluxTransientError),
        "wait": _wait,
        "stop": stop_after_attempt(_READ_ATTEMPTS),
        "reraise": True,
    }


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, FluxTransientError) else None
    return max(float(_BACKOFF(state)), asked or 0.0)


class _StopSubmit:
    """A full account frees a slot sooner or later; an unreachable host is more likely a mistake."""

    def __init__(self, max_wait: float) -> None:
        self._out_of_time = stop_after_delay(max_wait)

    def __call__(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, FluxConnectionError) and state.attempt_number >= _CONNECTION_ATTEMPTS:
            return True
        return bool(self._out_of_time(state))
