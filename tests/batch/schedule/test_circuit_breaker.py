"""Pauses between submits while the service is down."""

from __future__ import annotations

from airflow_provider_flux.batch.schedule.circuit_breaker import CircuitBreaker
from airflow_provider_flux.bfl.errors import FluxConnectionError, FluxSubmitUncertainError

DOWN, LOST = FluxConnectionError("nothing was sent"), FluxSubmitUncertainError("lost")


def test_two_lost_answers_do_not_open_the_breaker() -> None:
    breaker = CircuitBreaker()
    assert not breaker.record_failure(LOST, 0.0)
    assert not breaker.record_failure(LOST, 0.0)
    assert not breaker.is_open
    assert breaker.seconds_until_retry(0.0) == 0


def test_three_lost_answers_in_a_row_hold_submits_back() -> None:
    breaker = CircuitBreaker()
    for _ in range(3):
        breaker.record_failure(LOST, 10.0)
    assert breaker.is_open
    assert 0 < breaker.seconds_until_retry(10.0) <= 1
    assert breaker.seconds_until_retry(100.0) == 0


def test_an_answer_closes_the_breaker() -> None:
    breaker = CircuitBreaker()
    for _ in range(5):
        breaker.record_failure(LOST, 0.0)
    breaker.record_answer()
    assert not breaker.is_open
    assert not breaker.record_failure(LOST, 1.0)
    assert not breaker.is_open


def test_the_service_is_given_up_after_eight_lost_answers() -> None:
    breaker = CircuitBreaker()
    lost = 1
    while not breaker.record_failure(LOST, float(lost)):
        lost += 1
    assert lost == 8


def test_an_unreachable_service_is_given_up_after_five_minutes_and_few_submits() -> None:
    breaker, now, submits = CircuitBreaker(), 0.0, 0
    while not breaker.record_failure(DOWN, now):
        assert breaker.is_open
        pause = breaker.seconds_until_retry(now)
        assert 0 < pause <= 30
        now += pause
        submits += 1
    assert 300 <= now < 400
    assert submits < 30
