"""How many rows may end without an image, and what becomes of the task then."""

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
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxBudgetError, FluxRequestError

ANY = RowThreshold.parse("max_failed", None)
NONE = RowThreshold.parse("max_failed", 0)


@pytest.mark.parametrize(
    ("given", "most", "is_share", "text"),
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
def test_what_a_limit_may_be(given: Any, most: float | None, is_share: bool, text: str) -> None:
    limit = RowThreshold.parse("max_failed", given)
    assert (limit.maximum, limit.is_share, str(limit)) == (most, is_share, text)


@pytest.mark.parametrize(
    "bad", [-1, -0.1, 1.5, "1.5", "-3%", "101%", "many", "%", True, [], {}, "nan", "inf", 1e400]
)
def test_what_it_may_not_be(bad: Any) -> None:
    with pytest.raises(
        FluxRequestError,
        match=r"^max_failed=.* must be a number of rows, or a share of them like 0",
    ):
        RowThreshold.parse("max_failed", bad)


@pytest.mark.parametrize(("given", "most"), [(0.5, 0.5), ("1200.5", 1200.5), (0, 0), (3, 3)])
def test_an_amount_is_no_share(given: Any, most: float) -> None:
    assert parse_max_cost(given) == most


@pytest.mark.parametrize("bad", ["5%", -1, "much", False, "nan", "inf"])
def test_what_an_amount_may_not_be(bad: Any) -> None:
    with pytest.raises(FluxRequestError, match=r"^max_cost=.* must be credits, 0 or more"):
        parse_max_cost(bad)


@pytest.mark.parametrize("name", ["max_cost", "max_failed", "max_moderated"])
@pytest.mark.parametrize("empty", ["", " ", "None"])
def test_a_template_that_came_out_empty_is_not_taken_for_no_limit(name: str, empty: str) -> None:
    with pytest.raises(FluxRequestError, match=f"^{name}={empty!r} must be"):
        parse_max_cost(empty) if name == "max_cost" else RowThreshold.parse(name, empty)


@given(count=st.integers(0, 1000), more=st.integers(0, 1000), percent=st.integers(0, 100))
def test_a_share_of_the_rows(count: int, more: int, percent: int) -> None:
    rows = count + more
    limit = RowThreshold.parse("max_failed", f"{percent}%")
    if 100 * count != percent * rows:  # at the edge floats may round either way, by less than a row
        assert limit.is_exceeded(count, rows) == (100 * count > percent * rows)


@pytest.mark.parametrize("percent", range(1, 100))
def test_the_very_share_is_allowed_for(percent: int) -> None:
    """29 % of 100 rows are 29 rows, though 0.29 times 100 is a little less in floats."""
    for share in (f"{percent}%", percent / 100):
        limit = RowThreshold.parse("max_failed", share)
        for hundreds in (1, 3, 7, 100):
            assert not limit.is_exceeded(percent * hundreds, 100 * hundreds)
            assert limit.is_exceeded(percent * hundreds + 1, 100 * hundreds)


def summary(**counts: int) -> dict[str, Any]:
    return {**dict.fromkeys(ALL_OUTCOMES, 0), "rows": 10, "manifest": "/x/manifest.jsonl", **counts}


def decide(
    counts: dict[str, int],
    error: Any = None,
    on_invalid_row: Any = "fail",
    failed: Any = 0,
    moderated: Any = None,
) -> None:
    check_thresholds(
        summary(**counts),
        error,
        max_failed=RowThreshold.parse("max_failed", failed),
        max_moderated=RowThreshold.parse("max_moderated", moderated),
        on_invalid_row=on_invalid_row,
    )


@pytest.mark.parametrize("outcome", ["failed", "submitted", "pending"])
def test_what_another_try_may_help(outcome: str) -> None:
    with pytest.raises(
        FluxBatchError,
        match=f"1 {outcome}.*max_failed=0.*/x/manifest.jsonl.*A retry works only on",
    ):
        decide({outcome: 1, "lost": 0})


@pytest.mark.parametrize("outcome", ["uncertain", "lost", "invalid"])
def test_what_no_other_try_can_help(outcome: str) -> None:
    with pytest.raises(
        AirflowFailException,
        match=f"^FluxBatchError: 1 of 10 .*1 {outcome}.*Retrying will not help",
    ):
        decide({outcome: 1})


def test_what_is_as_it_should_be() -> None:
    decide({"landed": 9, "reused": 1})
    decide({"moderated": 10})
    decide({"failed": 1, "lost": 1, "uncertain": 1}, failed=3)
    decide({"invalid": 3}, on_invalid_row="skip")
    decide({"moderated": 1}, moderated="10%")


def test_both_limits_are_told() -> None:
    with pytest.raises(
        FluxBatchError,
        match=r"3 of 10 rows have no image .*; 2 of 10 rows were moderated, more than",
    ):
        decide({"failed": 2, "lost": 1, "moderated": 2}, moderated=1)


def test_why_not_all_were_tried_comes_first() -> None:
    with pytest.raises(FluxBudgetError, match="is reached"):
        decide(
            {"pending": 3, "moderated": 1}, FluxBudgetError("max_cost=1 is reached"), moderated=0
        )
