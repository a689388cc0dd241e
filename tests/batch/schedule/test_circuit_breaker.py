"""When submits lead to nothing: they are held back, one tries on, and at last it is given up."""

from __future__ import annotations

from airflow_provider_flux.batch.schedule.circuit_breaker import CircuitBreaker
from airflow_provider_flux.bfl.errors import FluxConnectionError, FluxSubmitUncertainError

DOWN, LOST = FluxConnectionError("nothing was sent"), FluxSubmitUncertainError("lost")


def test_one_answer_that_is_lost_may_be_chance() -> None:
    outage = CircuitBreaker()
    assert not outage.record_failure(LOST, 0.0)
    assert not outage.record_failure(LOST, 0.0)
    assert not outage.is_open
    assert outage.seconds_until_retry(0.0) == 0


def test_a_few_in_a_row_hold_submits_back() -> None:
    outage = CircuitBreaker()
    for _ in range(3):
        outage.record_failure(LOST, 10.0)
    assert outage.is_open
    assert 0 < outage.seconds_until_retry(10.0) <= 1
    assert outage.seconds_until_retry(100.0) == 0


def test_an_answer_ends_it() -> None:
    outage = CircuitBreaker()
    for _ in range(5):
        outage.record_failure(LOST, 0.0)
    outage.record_answer()
    assert not outage.is_open
    assert not outage.record_failure(LOST, 1.0)
    assert not outage.is_open


def test_no_more_than_a_few_rows_are_wasted() -> None:
    outage = CircuitBreaker()
    lost = 1
    while not outage.record_failure(LOST, float(lost)):
        lost += 1
    assert lost == 8


def test_a_service_that_is_down_costs_nothing_but_time() -> None:
    outage, now, tried = CircuitBreaker(), 0.0, 0
    while not outage.record_failure(DOWN, now):
        assert outage.is_open
        pause = outage.seconds_until_retry(now)
        assert 0 < pause <= 30
        now += pause
        tried += 1
    assert 300 <= now < 400
    assert tried < 30
