"""The priority of a submit: what a user may write, and how it waits after a 429."""

from __future__ import annotations

from typing import Any

import pytest
from tenacity import Future, RetryCallState, Retrying

from airflow_provider_flux.bfl.errors import (
    FluxConnectionError,
    FluxError,
    FluxRateLimitedError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.priority import PRIORITIES, check_priority
from airflow_provider_flux.bfl.retries import submit_retries


def waits_after(error: FluxError, attempt: int, **options: Any) -> list[float]:
    """Return the seconds of several waits after an attempt that failed."""
    retries = submit_retries(300.0, **options)
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = Future(attempt)
    state.outcome.set_exception(error)
    return [retries["wait"](state) for _ in range(200)]


def test_an_urgent_submit_waits_shortly_after_each_429_and_others_longer_each_time() -> None:
    refused = FluxRateLimitedError("429")
    assert max(waits_after(refused, 8, priority="high")) <= 0.7
    assert min(waits_after(refused, 8, priority="high")) >= 0.2
    assert max(waits_after(refused, 8)) > 5


def test_an_urgent_submit_waits_as_long_as_the_service_asks() -> None:
    refused = FluxRateLimitedError("429", retry_after=7.0)
    assert set(waits_after(refused, 1, priority="high")) == {7.0}


def test_an_urgent_submit_does_not_hurry_if_the_service_cannot_be_reached() -> None:
    assert max(waits_after(FluxConnectionError("gone"), 4, priority="high")) > 1


@pytest.mark.parametrize("value", ["urgent", 3, None, "HIGH", ["high"]])
def test_an_unknown_priority_is_refused_with_those_that_exist(value: object) -> None:
    with pytest.raises(FluxRequestError, match="Use one of: 'high', 'normal', 'low'"):
        check_priority(value)
    assert [check_priority(priority) for priority in PRIORITIES] == ["high", "normal", "low"]
