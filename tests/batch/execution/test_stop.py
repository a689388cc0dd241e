"""The request to stop: the earliest deadline and the first error count, whoever makes it."""

from __future__ import annotations

import threading
import time

from airflow_provider_flux.batch.execution.stop import StopRequest
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxBudgetError


def test_the_earliest_deadline_and_the_first_error_of_several_stops_count() -> None:
    stop, first = StopRequest(), FluxBudgetError("max_cost is reached")
    assert not stop.is_made
    stop.make(float("inf"), first)
    assert stop.is_made
    assert stop.has_no_deadline
    stop.make(4.0, FluxBatchError("The task was stopped."))
    stop.make(60.0)
    assert stop.error is first
    assert stop.deadline
    assert stop.deadline <= time.monotonic() + 4


def test_a_stop_of_another_thread_wakes_the_loop() -> None:
    stop, woken = StopRequest(), threading.Event()
    with stop.waking(woken.set):
        assert not woken.is_set()
        thread = threading.Thread(target=stop.make, args=(0.0,))
        thread.start()
        thread.join(5)
        assert woken.is_set()


def test_a_stop_after_the_loop_has_ended_changes_nothing() -> None:
    stop, calls = StopRequest(), list[int]()
    with stop.waking(lambda: calls.append(1)):
        pass
    stop.make(0.0, FluxBatchError("The task was stopped."))
    assert (stop.is_made, stop.error, calls) == (False, None, [])
