"""Filters of cards and their query strings, and totals."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from airflow_provider_flux.gallery.card import Card, CardOrigin
from airflow_provider_flux.gallery.filters import CardFilter, Totals

CARD = Card(
    key="SKU-7",
    outcome="landed",
    reason="Refused",
    model="flux-2-pro",
    prompt="A Red Fox, STRASSE",
    cost=4.0,
    bytes=10,
    request_id="abc",
    uri="/x",
    origin=CardOrigin("d", "run-1", "t"),
)


class TestFilter:
    @pytest.mark.parametrize(
        "query",
        [
            *("", "outcome=landed", "outcome=failed&outcome=landed", "model=flux-2-pro"),
            *("run=run-1", "key=sku", "text=red+fox", "text=REFUSED", "text=abc", "text=straße"),
            *("min_cost=4", "max_cost=4", "min_cost=nan", "max_cost=x", "min_cost=", "other=1"),
        ],
    )
    def test_a_card_passes_the_filter_of_a_query(self, query: str) -> None:
        assert CardFilter.from_query(parse_qsl(query)).accepts(CARD)

    @pytest.mark.parametrize(
        "query",
        ["outcome=failed", "model=x", "run=run-2", "key=red", "text=blue", "min_cost=5"],
    )
    def test_a_card_does_not_pass_the_filter_of_another(self, query: str) -> None:
        assert not CardFilter.from_query(parse_qsl(query)).accepts(CARD)

    def test_a_card_without_a_cost_passes_no_limit_of_the_cost(self) -> None:
        assert not CardFilter(max_cost=9).accepts(Card())
        assert CardFilter().accepts(Card())

    def test_a_filter_survives_its_query_string(self) -> None:
        filter_ = CardFilter(
            outcomes=frozenset({"failed", "lost"}),
            models=frozenset({"flux-2-pro"}),
            runs=frozenset({"manual__2026-01-01T00:00:00+00:00"}),
            key="a&b=c",
            text="50 % ü",
            min_cost=0.5,
            max_cost=1e6,
        )
        assert CardFilter.from_query(filter_.to_pairs()) == filter_

    def test_a_query_of_a_stranger_is_bounded(self) -> None:
        query = [("outcome", f"o{n}") for n in range(5000)] + [("text", "x" * 10**6)]
        filter_ = CardFilter.from_query(query)
        assert len(filter_.outcomes) == 50
        assert len(filter_.text) == 200


class TestTotals:
    def test_totals_count_cards_images_credits_and_names(self) -> None:
        totals = Totals.of([CARD, CARD, Card(outcome="failed", cost=None)])
        assert (totals.cards, totals.images, totals.credits, totals.bytes) == (3, 2, 8.0, 20)
        assert totals.outcomes == {"landed": 2, "failed": 1}
        assert totals.runs == {"run-1": 2}
        assert (totals + totals).cards == 6

    def test_totals_name_200_models_at_most(self) -> None:
        totals = Totals.of(Card(model=f"m{n}", cost=1e300, bytes=-5) for n in range(1000))
        assert len(totals.models) == 200
        assert totals.credits == 1e15
        assert totals.bytes == 0

    def test_the_totals_of_several_tasks_name_200_models_at_most(self) -> None:
        tasks = [Totals.of(Card(model=f"{task}-{n}") for n in range(200)) for task in range(3)]
        totals = sum(tasks, Totals())
        assert (totals.cards, len(totals.models)) == (600, 200)
