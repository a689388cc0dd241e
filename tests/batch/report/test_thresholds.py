"""Thresholds of rows without an image, and the state of the task when they are exceeded."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.report.counters import ALL_OUTCOMES
from airflow_provider_flux.batch.report.thresholds import (
    RowThreshold,
    check_thresholds,
    parse_max_cost,
)
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)


@pytest.mark.parametrize(
    ("value", "maximum", "is_share", "text"),
    [
        (None, None, False, "max_failed=None"),
        (0, 0, False, "max_failed=0"),
        (1, 1, False, "max_failed=1"),
        (1.0, 1, False, "max_failed=1"),
        ("7", 7, False, "max_failed=7"),
        (0.02, 0.02, True, "max_failed=2%"),
        ("0.02", 0.02, True, "max_failed=2%"),
        ("2%", 0.02, True, "max_failed=2%"),
        (" 2 % ", 0.02, True, "max_failed=2%"),
        ("100%", 1, True, "max_failed=100%"),
        ("0%", 0, True, "max_failed=0%"),
        ("0.5%", 0.005, True, "max_failed=0.5%"),
    ],
)
def test_a_row_threshold_is_a_number_or_a_share(
    value: Any, maximum: float | None, is_share: bool, text: str
) -> None:
    threshold = RowThreshold.parse("max_failed", value)
    assert (threshold.maximum, threshold.is_share, str(threshold)) == (maximum, is_share, text)


@pytest.mark.parametrize(
    "bad", [-1, -0.1, 1.5, "1.5", "-3%", "101%", "many", "%", True, [], {}, "nan", "inf", 1e400]
)
def test_other_values_of_a_row_threshold_are_refused(bad: Any) -> None:
    with pytest.raises(
        FluxRequestError,
        match=r"^max_failed=.* must be a number of rows, or a share of them like 0",
    ):
        RowThreshold.parse("max_failed", bad)


@pytest.mark.parametrize(("value", "maximum"), [(0.5, 0.5), ("1200.5", 1200.5), (0, 0), (3, 3)])
def test_max_cost_below_1_is_an_amount_and_not_a_share(value: Any, maximum: float) -> None:
    assert parse_max_cost(value) == maximum


@pytest.mark.parametrize("bad", ["5%", -1, "much", False, "nan", "inf"])
def test_other_values_of_max_cost_are_refused(bad: Any) -> None:
    with pytest.raises(FluxRequestError, match=r"^max_cost=.* must be credits, 0 or more"):
        parse_max_cost(bad)


@pytest.mark.parametrize("name", ["max_cost", "max_failed", "max_moderated"])
@pytest.mark.parametrize("empty", ["", " ", "None"])
def test_an_empty_template_does_not_mean_no_limit(name: str, empty: str) -> None:
    with pytest.raises(FluxRequestError, match=f"^{name}={empty!r} must be"):
        parse_max_cost(empty) if name == "max_cost" else RowThreshold.parse(name, empty)


@given(count=st.integers(0, 1000), more=st.integers(0, 1000), percent=st.integers(0, 100))
def test_a_share_is_exceeded_by_more_rows_than_that_share(
    count: int, more: int, percent: int
) -> None:
    rows = count + more
    threshold = RowThreshold.parse("max_failed", f"{percent}%")
    if 100 * count != percent * rows:  # there, floats may round either way
        assert threshold.is_exceeded(count, rows) == (100 * count > percent * rows)


@pytest.mark.parametrize("percent", range(1, 100))
def test_exactly_the_share_of_the_rows_is_allowed(percent: int) -> None:
    """Check, for example, that 29 % of 100 rows are 29 rows: 0.29 * 100 is less in floats."""
    for share in (f"{percent}%", percent / 100):
        threshold = RowThreshold.parse("max_failed", share)
        for hundreds in (1, 3, 7, 100):
            assert not threshold.is_exceeded(percent * hundreds, 100 * hundreds)
            assert threshold.is_exceeded(percent * hundreds + 1, 100 * hundreds)


def summary(**counts: int) -> dict[str, Any]:
    """Return the summary of a batch of ten rows."""
    figures = {"rows": 10, "credits_uncertain": 4.0, "manifest": "/x/manifest.jsonl"}
    return {**dict.fromkeys(ALL_OUTCOMES, 0), **figures, **counts}


def check(
    counts: dict[str, int],
    error: Any = None,
    on_invalid_row: Any = "fail",
    failed: Any = 0,
    moderated: Any = None,
    on_uncertain: Any = "fail",
    rejected: Any = None,
) -> None:
    """Check the thresholds of a batch with these outcomes."""
    check_thresholds(
        summary(**counts),
        error,
        max_failed=RowThreshold.parse("max_failed", failed),
        max_moderated=RowThreshold.parse("max_moderated", moderated),
        max_rejected=RowThreshold.parse("max_rejected", rejected),
        on_invalid_row=on_invalid_row,
        on_uncertain=on_uncertain,
    )


@pytest.mark.parametrize("outcome", ["failed", "submitted", "pending"])
def test_outcomes_that_a_retry_may_improve_fail_the_try(outcome: str) -> None:
    with pytest.raises(
        FluxBatchError,
        match=f"1 {outcome}.*max_failed=0.*/x/manifest.jsonl.*A retry works only on",
    ):
        check({outcome: 1, "lost": 0})


@pytest.mark.parametrize("outcome", ["uncertain", "lost", "invalid"])
def test_outcomes_that_no_retry_can_improve_fail_the_task_for_good(outcome: str) -> None:
    with pytest.raises(
        AirflowFailException,
        match=f"^FluxBatchError: 1 of 10 .*1 {outcome}.*Retrying will not help",
    ):
        check({outcome: 1})


def test_the_message_about_uncertain_rows_names_their_cost_and_the_ways_out() -> None:
    """Fault 21: a batch with 294 images failed with "A retry would change nothing"."""
    with pytest.raises(AirflowFailException) as caught:
        check({"landed": 9, "uncertain": 1})
    message = str(caught.value)
    assert "9 of 10 rows have their image" in message
    assert "4 credits for all uncertain submits" in message
    assert "clear the task, or set on_uncertain='resubmit'" in message
    assert "set max_failed to 1 or more" in message
    assert "Fix these rows" not in message


def test_after_lost_answers_with_resubmit_only_a_clear_submits_again() -> None:
    with pytest.raises(AirflowFailException, match="To get these images, clear the task: then"):
        check({"uncertain": 1}, on_uncertain="resubmit")


@pytest.mark.parametrize("error", [FluxBudgetError("full"), FluxInsufficientCreditsError("empty")])
def test_a_lack_of_money_does_not_end_retries_that_land_billed_rows(error: FluxError) -> None:
    """Fault 21: the retries ended although one would have landed images that were billed."""
    with pytest.raises(FluxBatchError, match=r"2 rows are billed .* A retry lands them"):
        check({"submitted": 2, "pending": 3}, error)
    with pytest.raises(type(error)):
        check({"pending": 3}, error)


def test_a_batch_within_its_thresholds_succeeds() -> None:
    check({"landed": 9, "reused": 1})
    check({"moderated": 10})
    check({"failed": 1, "lost": 1, "uncertain": 1}, failed=3)
    check({"invalid": 3}, on_invalid_row="skip")
    check({"moderated": 1}, moderated="10%")


def test_all_exceeded_thresholds_are_in_one_message() -> None:
    with pytest.raises(
        FluxBatchError,
        match=r"3 of 10 rows have no image .*; 2 of 10 rows were moderated, more than",
    ):
        check({"failed": 2, "lost": 1, "moderated": 2}, moderated=1)


def test_the_reason_of_an_early_stop_is_raised_before_any_threshold() -> None:
    with pytest.raises(FluxBudgetError, match="is reached"):
        check({"pending": 3, "moderated": 1}, FluxBudgetError("max_cost=1 is reached"), moderated=0)


def test_too_many_rejected_rows_fail_the_task_for_good() -> None:
    message = "3 of 10 rows have an image that checks rejected, more than max_rejected=20% allows"
    with pytest.raises(AirflowFailException, match=message):
        check({"rejected": 3}, rejected="20%")
    check({"rejected": 2}, rejected="20%")
    check({"rejected": 10})
