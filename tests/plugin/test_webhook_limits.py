"""Limits of the webhook receiver."""

from __future__ import annotations

from airflow_provider_flux.plugin.webhook_limits import HandledNotices, RefusalLimiter


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_refusals_of_a_minute_are_limited() -> None:
    clock = Clock()
    limiter = RefusalLimiter(3, clock)
    for second in (0, 10, 20):
        assert not limiter.is_exceeded
        clock.now = second
        limiter.add_refusal()
    assert limiter.is_exceeded
    clock.now = 60
    assert not limiter.is_exceeded


def test_the_oldest_notices_are_forgotten() -> None:
    handled = HandledNotices(2)
    for notice in ("a", "b", "a", "c"):
        handled.add(notice)
    assert [notice in handled for notice in ("a", "b", "c")] == [False, True, True]
