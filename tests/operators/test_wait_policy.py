"""Wait policy of a task: the decisions about its wait, without a clock or a service."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.operators.wait_policy import WaitPolicy


def policy(**changes: Any) -> WaitPolicy:
    arguments = {
        "model": "flux-pro-1.1",
        "deferrable": True,
        "inline_wait": 30.0,
        "timeout": None,
        "execution_timeout": None,
    }
    return WaitPolicy(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "starts_on_worker"),
    [
        ({}, True),
        ({"inline_wait": 0.0}, False),
        ({"inline_wait": 0.0, "deferrable": False}, True),
        ({"model": "flux-3-video"}, False),
        ({"model": "flux-3-video", "deferrable": False}, True),
        ({"model": "flux-3-video", "inline_wait": 3600.0}, True),
        ({"model": "an unknown model"}, True),
    ],
)
def test_a_task_waits_on_the_worker_first_if_that_can_be_long_enough(
    changes: dict[str, Any], starts_on_worker: bool
) -> None:
    assert policy(**changes).starts_on_worker is starts_on_worker


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 600),
        ({"timeout": 40.0}, 40),
        ({"execution_timeout": timedelta(seconds=70)}, 70),
        ({"timeout": 40.0, "execution_timeout": timedelta(seconds=70)}, 40),
        ({"model": "flux-3-video"}, 1800),
    ],
)
def test_the_shortest_of_all_timeouts_limits_the_wait(
    changes: dict[str, Any], seconds: float
) -> None:
    assert policy(**changes).max_wait == seconds


def test_the_deadline_counts_from_the_submit_in_whichever_try() -> None:
    generation: Any = {"submitted_at": "1970-01-01T00:01:40+00:00"}
    assert policy(timeout=40.0).deadline_of(generation, now=130.0) == 140
    assert policy(timeout=40.0).deadline_of(generation, now=1300.0) == 140


@given(skew=st.floats(0, 1e9))
def test_a_submit_in_the_future_does_not_move_the_deadline(skew: float) -> None:
    """Fault 17: the clock of the worker that submitted was ahead of that of the next try."""
    generation: Any = {"submitted_at": "1970-01-01T00:01:40+00:00"}
    assert policy(timeout=40.0).deadline_of(generation, now=100.0 - skew) <= 100.0 - skew + 40.0


def test_only_a_task_that_may_defer_pauses_its_wait() -> None:
    assert policy().pause_at(1000.0) == 1030
    assert policy(deferrable=False).pause_at(1000.0) is None
