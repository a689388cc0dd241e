"""The decisions about polling, in simulated time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxServiceError,
    FluxTaskNotFoundError,
    FluxTimeoutError,
)
from airflow_provider_flux.bfl.polling import (
    Done,
    Failed,
    Paused,
    PollAgain,
    PollDecision,
    Poller,
    WebhookPace,
)
from airflow_provider_flux.bfl.responses import GenerationResult

START = 1_000_000.0


def poller(**options) -> Poller:
    return Poller(
        **{
            "request_id": "r1",
            "submitted_at": START,
            "deadline": START + 600,
            "poll_interval": 0.5,
            "jitter": lambda: 0.5,
            **options,
        }
    )


READY = {"result": {"sample": "https://delivery.eu.bfl.ai/s.jpeg"}}


def result(status: str, **body) -> GenerationResult:
    body = READY | body if status == "Ready" else body
    return GenerationResult.from_body({"id": "r1", "status": status, **body})


def drive(p: Poller, ready_at: float, *, start: float = START) -> tuple[float, int, PollDecision]:
    """Poll a generation that is ready at ``ready_at``.

    Returns when it was noticed, and the times of the polls.
    """
    now, polls = start + p.first_wait(start), 0
    while True:
        polls += 1
        outcome = p.on_result(result("Ready" if now >= ready_at else "Pending"), now)
        if not isinstance(outcome, PollAgain):
            return now, polls, outcome
        now += outcome.seconds


@given(latency=st.floats(0.1, 500), jitter=st.floats(0, 0.999), interval=st.floats(0.1, 5))
def test_a_result_is_noticed_at_most_about_ten_percent_late(
    latency: float, jitter: float, interval: float
) -> None:
    noticed, _, outcome = drive(
        poller(jitter=lambda: jitter, poll_interval=interval), START + latency
    )
    assert isinstance(outcome, Done)
    assert 0 <= noticed - (START + latency) <= max(interval, 0.1 * latency) * 1.11 + 0.01


def test_a_long_wait_needs_few_polls() -> None:
    _, polls, _ = drive(poller(), START + 300)
    assert polls < 60


@given(deadline=st.floats(0.2, 1000), jitter=st.floats(0, 0.999))
def test_the_last_poll_is_made_at_the_deadline_and_not_before(
    deadline: float, jitter: float
) -> None:
    noticed, _, outcome = drive(
        poller(deadline=START + deadline, jitter=lambda: jitter), START + 10_000
    )
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, FluxTimeoutError)
    assert START + deadline <= noticed <= START + deadline + 0.1


def test_a_result_that_is_ready_at_the_last_poll_is_returned() -> None:
    assert isinstance(poller().on_result(result("Ready"), START + 9999), Done)


def test_a_generation_that_was_submitted_a_while_ago_is_polled_at_once() -> None:
    assert poller().first_wait(START + 60) == 0
    assert poller().first_wait(START) == 0.5
    assert poller(deadline=START + 0.1).first_wait(START) == pytest.approx(0.1)
    assert poller(poll_interval=5, pause_at=START + 1).first_wait(START) == 1


@given(skew=st.floats(0, 1e9), interval=st.floats(0.1, 5))
def test_a_submit_in_the_future_does_not_delay_the_first_poll(skew: float, interval: float) -> None:
    """Fault 17: a clock that is ahead delayed the first poll by the whole difference."""
    by_interval = poller(poll_interval=interval, deadline=START + 2e9)
    assert by_interval.first_wait(START - skew) <= interval
    by_pace = poller(pace=lambda age: 3.0 - age, deadline=START + 2e9)
    assert by_pace.first_wait(START - skew) <= 3.0
    again = by_pace.on_result(result("Pending"), START - skew)
    assert isinstance(again, PollAgain)
    assert again.seconds <= 3.0


def test_a_wait_pauses_at_pause_at_but_not_at_the_deadline() -> None:
    noticed, _, outcome = drive(poller(pause_at=START + 5), START + 100)
    assert isinstance(outcome, Paused)
    assert START + 5 <= noticed < START + 5.1
    assert isinstance(poller(pause_at=START).on_result(result("Pending"), START), Paused)
    late = poller(pause_at=START + 700).on_result(result("Pending"), START + 600)
    assert isinstance(late, Failed)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (
            {"status": "Error", "details": {"error": "Invalid image"}},
            FluxGenerationError,
            "Invalid image",
        ),
        ({"status": "Error", "result": "older text"}, FluxGenerationError, "older text"),
        ({"status": "Failed"}, FluxGenerationError, "no reason given"),
        ({"status": "Request Moderated", "details": "a text"}, FluxModeratedError, "a text"),
        (
            {
                "status": "Content Moderated",
                "details": {"Moderation Reasons": ["Violence", "Self Harm"]},
            },
            FluxModeratedError,
            "Violence, Self Harm",
        ),
    ],
)
def test_a_generation_that_ended_without_a_result_is_a_typed_error(
    body: dict, error: type[FluxError], message: str
) -> None:
    outcome = poller(cost=4).on_result(GenerationResult.from_body(body), START + 5)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, error)
    assert message in str(outcome.error)
    assert outcome.error.request_id == "r1"
    assert outcome.error.cost == 4


@pytest.mark.parametrize(
    "status", ["Pending", "Reasoning", "Generating", "Queued", "Something new", "None"]
)
def test_a_status_that_is_not_final_is_polled_again(status: str) -> None:
    assert isinstance(poller().on_result(result(status), START + 5), PollAgain)


def test_task_not_found_is_an_error_only_after_a_grace_period() -> None:
    p = poller()
    missing = result("Task not found")
    outcomes = [p.on_result(missing, START + seconds) for seconds in (100, 101, 102, 129)]
    assert outcomes == [PollAgain(1)] * 4
    last = p.on_result(missing, START + 131)
    assert isinstance(last, Failed)
    assert isinstance(last.error, FluxTaskNotFoundError)


def test_one_task_not_found_is_polled_again_even_after_the_deadline() -> None:
    p = poller(deadline=START + 1)
    now = START + 3600
    assert isinstance(p.on_result(result("Task not found"), now), PollAgain)
    assert isinstance(p.on_result(result("Task not found"), now + 29), PollAgain)
    last = p.on_result(result("Task not found"), now + 31)
    assert isinstance(last, Failed)
    assert isinstance(last.error, FluxTaskNotFoundError)


def test_a_task_that_is_found_again_resets_the_grace_period() -> None:
    p = poller()
    p.on_result(result("Task not found"), START + 40)
    p.on_result(result("Pending"), START + 60)
    assert isinstance(p.on_result(result("Task not found"), START + 80), PollAgain)


@pytest.mark.parametrize("empty", [None, {}, {"sample": None}, {"samples": []}, {"sample": ""}])
def test_a_generation_that_is_ready_without_an_image_is_polled_again(empty: object) -> None:
    """Fault 18: a *Ready* with ``result: null`` ended a generation that was billed for good."""
    p = poller(deadline=START + 10)
    for seconds in (8, 9, 20, 67):
        assert p.on_result(result("Ready", result=empty), START + seconds) == PollAgain(1)
    assert isinstance(p.on_result(result("Ready"), START + 67), Done)


def test_a_generation_that_never_names_its_image_fails_so_that_a_retry_polls_again() -> None:
    """Fault 18: the error is not permanent, because polls are free."""
    p = poller(cost=4)
    p.on_result(result("Ready", result=None), START)
    p.on_result(result("Pending"), START + 59)
    p.on_result(result("Ready", result=None), START + 60)
    assert isinstance(p.on_result(result("Ready", result=None), START + 119), PollAgain)
    last = p.on_result(result("Ready", result=None), START + 120)
    assert isinstance(last, Failed)
    assert isinstance(last.error, FluxServiceError)
    assert (last.error.is_permanent, last.error.cost) == (False, 4)


def test_a_temporary_failure_backs_off_for_at_least_retry_after() -> None:
    p = poller()
    waits = [p.on_error(FluxServiceError("500"), START + 1).seconds for _ in range(4)]
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    decision = p.on_error(FluxServiceError("503", retry_after=17), START + 1)
    assert decision == PollAgain(17)


def test_a_retry_after_beyond_the_deadline_leaves_a_last_poll() -> None:
    outcome = poller(deadline=START + 10).on_error(
        FluxServiceError("503", retry_after=60), START + 4
    )
    assert outcome == PollAgain(6)


def test_many_temporary_failures_do_not_end_the_wait_before_the_deadline() -> None:
    p = poller(deadline=START + 1e9)
    assert all(p.on_error(FluxServiceError("500"), START + 1).seconds <= 30 for _ in range(3000))


def test_a_permanent_error_ends_the_wait_at_once() -> None:
    outcome = poller().on_error(FluxAuthenticationError("403"), START + 1)
    assert isinstance(outcome, Failed)


def test_a_timeout_names_the_last_error() -> None:
    p = poller(deadline=START + 1)
    outcome = p.on_error(FluxServiceError("HTTP 500 all day"), START + 2)
    assert isinstance(outcome, Failed)
    assert "HTTP 500 all day" in str(outcome.error)


class TestWebhookPace:
    def test_polls_beside_a_webhook_are_rare_once_it_can_resume_the_task(self) -> None:
        pace = WebhookPace(12.0, 0.5, 60.0, jitter=lambda: 0.5)
        assert [pace(waited) for waited in (0.0, 11.9, 12.0, 300.0)] == [2.0, 2.0, 60.0, 60.0]

    def test_many_rare_polls_are_spread(self) -> None:
        paces = [WebhookPace(0.0, 0.5, 60.0, jitter=lambda share=share: share) for share in (0, 1)]
        assert [pace(1.0) for pace in paces] == [54.0, 66.0]

    def test_a_longer_interval_of_the_user_counts_at_first_too(self) -> None:
        assert WebhookPace(12.0, 5.0, 60.0)(0.0) == 5.0
