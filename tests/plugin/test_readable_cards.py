"""Cards of a manifest whose index turns out to be damaged, beside those of others."""

from __future__ import annotations

import pytest

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.card_source import CardList, ChainedCards
from airflow_provider_flux.gallery.filters import CardFilter
from airflow_provider_flux.gallery.index_format import FIRST_READ_BYTES
from airflow_provider_flux.gallery.indexed_cards import IndexedCards, open_index
from airflow_provider_flux.plugin.readable_cards import ReadableCards
from tests.support.gallery_cards import batch_cards, encode_index

INDEX = encode_index(batch_cards(2000))


def damaged_index(problem: str) -> IndexedCards:
    """Return the cards of an index that can be read at its beginning alone."""

    def read(start: int, end: int) -> bytes:
        if start < FIRST_READ_BYTES:
            return INDEX[start:end]
        if problem == "gone":
            raise FluxStorageError("The index could not be read (FileNotFoundError).")
        return b"\0" * (min(end, len(INDEX)) - start)

    return open_index(read)


@pytest.mark.parametrize("problem", ["gone", "overwritten"])
def test_the_other_tasks_of_a_page_are_shown_and_the_damage_is_reported_once(problem: str) -> None:
    reports: list[str] = []
    damaged = ReadableCards(damaged_index(problem), lambda: reports.append(problem))
    cards = ChainedCards([damaged, CardList([Card(key="whole")])])
    page = cards.page(CardFilter(text="whole"))
    assert [card.key for card in page.cards] == ["whole"]
    assert (page.totals.cards, cards.totals.cards, reports) == (1, 1, [problem])


@pytest.mark.parametrize("problem", ["gone", "overwritten"])
def test_a_card_that_cannot_be_read_is_not_there(problem: str) -> None:
    cards = ReadableCards(damaged_index(problem))
    assert cards.card(0) is not None
    assert cards.card(1999) is None
