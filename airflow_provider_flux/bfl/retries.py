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

from airflow_provider_flux.bfl.errors import (
    FluxConnectionError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRateLimitedError,
    FluxTransientError,
)
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost

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


def is_402_ambiguous(request: GenerationRequest) -> bool:
    """Whether a 402 for this request need not mean that the credits are used up.

    Videos submitted back to back were refused with 402 although there were credits, and accepted a
    little later (source: published captures of the service).
    """
    return request.catalog_model is not None and request.catalog_model.is_402_ambiguous


def resolve_402(
    error: FluxInsufficientCreditsError, request: GenerationRequest, *, balance: float | None
) -> FluxError:
    """Return what a 402 means, given the balance: too fast, to be tried again, or out of credits.

    Of an estimate that is only an upper bound the least counts, so that a smaller balance is given a try.

    :param balance: ``None`` if BFL would not say it: then it is tried again.
    """
    if balance is None:
        return FluxRateLimitedError(
            f"{request.model} was refused with HTTP 402, and the balance could not be read."
        )
    estimate = estimate_cost(request)
    needed = (
        estimate.credits
        if estimate.credits is not None and not estimate.note
        else estimate.at_least
    )
    if balance <= 0 or balance < needed:
        text = f"{error.message} The balance is {balance:g} credits; needed, by our estimate: {needed:g} or more."
        return FluxInsufficientCreditsError(text)
    return FluxRateLimitedError(
        f"{request.model} was refused with HTTP 402 although the account has {balance:g} credits: "
        "videos were submitted too fast, or this one costs more than that."
    )


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
