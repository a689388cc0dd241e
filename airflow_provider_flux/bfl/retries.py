"""Retry policies: a call that could be billed twice is never repeated.

They are arguments for tenacity's ``Retrying`` and ``AsyncRetrying``, so that both clients follow
one policy.
"""

from __future__ import annotations

from typing import Any

from tenacity import (
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from airflow_provider_flux.bfl.errors import (
    FluxConnectionError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRateLimitedError,
    FluxTransientError,
)
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost

_BACKOFF = wait_random_exponential(multiplier=1, min=0.5, max=30)
#: A batch pauses for 0.25 to 3 seconds after a 429. An urgent submit pauses less, so that it gets
#: the slot that the next image of the batch frees.
_URGENT_BACKOFF = wait_random(0.2, 0.7)
_CONNECTION_ATTEMPTS = 4
_READ_ATTEMPTS = 5


def submit_retries(max_wait: float, priority: Priority = "normal") -> dict[str, Any]:
    """Return the retry policy of a submit: only after a 429, or if nothing was sent.

    :param max_wait: seconds to retry while the service answers with 429. An unreachable host is
        retried three times at most.
    :param priority: ``high`` pauses only shortly after a 429.
    :return: keyword arguments for ``Retrying`` or ``AsyncRetrying``.
    """
    return {
        "retry": retry_if_exception_type((FluxRateLimitedError, FluxConnectionError)),
        "wait": _wait_urgently if priority == "high" else _wait,
        "stop": _StopSubmit(max_wait),
        "reraise": True,
    }


def read_retries() -> dict[str, Any]:
    """Return the retry policy of calls that only read: four times after a temporary failure.

    :return: keyword arguments for ``Retrying`` or ``AsyncRetrying``.
    """
    return {
        "retry": retry_if_exception_type(FluxTransientError),
        "wait": _wait,
        "stop": stop_after_attempt(_READ_ATTEMPTS),
        "reraise": True,
    }


def is_402_ambiguous(request: GenerationRequest) -> bool:
    """Whether a 402 for this request may mean "too fast" although the balance is enough.

    The service refused videos that were submitted back to back with 402, and accepted them a little
    later (source: published captures of the service).

    :param request: the request that was refused.
    """
    return request.catalog_model is not None and request.catalog_model.is_402_ambiguous


def resolve_402(
    error: FluxInsufficientCreditsError, request: GenerationRequest, *, balance: float | None
) -> FluxError:
    """Return the error that a 402 stands for: out of credits, or too fast, which is retried.

    If the estimate is only an upper bound, the balance is compared with the least possible cost, so
    that a smaller balance is tried.

    :param error: the error of the 402.
    :param request: the request that was refused.
    :param balance: credits of the account. ``None`` if it could not be read: then the submit is
        retried.
    """
    if balance is None:
        return FluxRateLimitedError(
            f"BFL refused {request.model} with HTTP 402, and the balance could not be read."
        )
    estimate = estimate_cost(request)
    needed = (
        estimate.credits
        if estimate.credits is not None and not estimate.note
        else estimate.at_least
    )
    if balance <= 0 or balance < needed:
        return FluxInsufficientCreditsError(
            f"{error.message} The balance is {balance:g} credits, and the request needs an "
            f"estimated {needed:g} or more. Add credits."
        )
    return FluxRateLimitedError(
        f"BFL refused {request.model} with HTTP 402 although the balance is {balance:g} credits: "
        "videos were submitted too fast, or this one costs more."
    )


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    requested = error.retry_after if isinstance(error, FluxTransientError) else None
    return max(float(_BACKOFF(state)), requested or 0.0)


def _wait_urgently(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, FluxRateLimitedError):
        return max(float(_URGENT_BACKOFF(state)), error.retry_after or 0.0)
    return _wait(state)


class _StopSubmit:
    """Stop after ``max_wait``, or after four connections that failed.

    A full account frees a slot sooner or later. An unreachable host is more likely a mistake.
    """

    def __init__(self, max_wait: float) -> None:
        self._is_out_of_time = stop_after_delay(max_wait)

    def __call__(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, FluxConnectionError) and state.attempt_number >= _CONNECTION_ATTEMPTS:
            return True
        return bool(self._is_out_of_time(state))
