"""The pure decisions about what a batch is about to pay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.survey import (
    ROUNDING_ERROR,
    SurveyCounts,
    find_first_beyond,
    find_prune_problem,
)

_PRICES = st.lists(st.none() | st.sampled_from([0.1, 1.4, 3.0, 4.0, 30.0]), max_size=40)


class TestSurveyCounts:
    def test_the_line_of_the_log_names_new_changed_unchanged_and_gone_rows(self) -> None:
        groups = [("pending", False, 12), ("pending", True, 3), ("reused", True, 485)]
        counts = SurveyCounts.count(groups, gone=2)  # type: ignore[arg-type]
        assert counts.describe() == "500 rows: 12 new, 3 changed, 485 unchanged (free), 2 gone"
        assert counts.figures() == {"new": 12, "changed": 3, "unchanged": 485, "gone": 2}

    def test_rows_with_another_outcome_are_named_by_it(self) -> None:
        groups = [("submitted", True, 1), ("invalid", False, 2), ("landed", False, 1)]
        counts = SurveyCounts.count(groups, gone=0)  # type: ignore[arg-type]
        assert counts.describe() == (
            "4 rows: 0 new, 0 changed, 1 unchanged (free), 0 gone, 2 invalid, "
            "1 submitted before (free)"
        )


class TestFindFirstBeyond:
    @given(_PRICES, st.floats(-5, 100))
    def test_the_rows_that_fit_are_the_longest_prefix_within_the_budget(
        self, prices: list[float | None], budget: float
    ) -> None:
        first = find_first_beyond(enumerate(prices), budget)
        kept = prices if first is None else prices[:first]
        costs = [price or 0.0 for price in prices]
        assert not kept or sum(costs[: len(kept)]) <= budget + ROUNDING_ERROR
        if first is not None:
            assert sum(costs[: first + 1]) > budget + ROUNDING_ERROR

    def test_a_cheap_row_does_not_overtake_a_dear_one_that_does_not_fit(self) -> None:
        assert find_first_beyond(enumerate([4.0, 30.0, 3.0]), 10) == 1


class TestFindPruneProblem:
    SAFE = {"max_share": 0.5, "is_mapped": False, "has_manifest": True}

    @pytest.mark.parametrize(
        ("counts", "changes", "problem"),
        [
            (SurveyCounts(0, 0, 0, 0, 5), {}, "the input has no rows"),
            (SurveyCounts(4, 0, 0, 4, 5), {}, "5 of 9 images"),
            (SurveyCounts(4, 0, 0, 4, 1), {"is_mapped": True}, "another map index"),
            (SurveyCounts(4, 0, 0, 4, 1), {"has_manifest": False}, "cannot be read"),
            (SurveyCounts(5, 0, 0, 4, 1, {"invalid": 1}), {}, "1 rows are not valid"),
        ],
    )
    def test_a_doubtful_input_deletes_nothing(
        self, counts: SurveyCounts, changes: dict[str, bool], problem: str
    ) -> None:
        assert problem in str(find_prune_problem(counts, **{**self.SAFE, **changes}))  # type: ignore[arg-type]

    def test_a_few_gone_rows_may_be_deleted(self) -> None:
        counts = SurveyCounts(5, 1, 0, 4, 4)
        assert find_prune_problem(counts, max_share=0.5, is_mapped=False, has_manifest=True) is None

    def test_a_higher_share_allows_more(self) -> None:
        counts = SurveyCounts(1, 0, 0, 1, 9)
        assert find_prune_problem(counts, max_share=1, is_mapped=False, has_manifest=True) is None
