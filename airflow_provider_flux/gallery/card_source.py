"""Sources of cards: a list, and several sources behind each other.

A source of an index is :class:`~airflow_provider_flux.gallery.indexed_cards.IndexedCards`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.filters import CardFilter, Totals

#: Cards of one page.
PAGE_CARDS = 100


@dataclass(frozen=True)
class CardPage:
    """Some cards of those that pass a filter.

    :param cards: the cards of the page, in order.
    :param offset: number of cards that pass the filter and are before the page.
    :param totals: totals of all cards that pass the filter.
    """

    cards: Sequence[Card]
    offset: int
    totals: Totals


class CardSource(Protocol):
    """Cards in an order that does not change between two calls."""

    @property
    def totals(self) -> Totals:
        """Totals of all cards: the choices of the filters."""
        ...

    def page(self, filter_: CardFilter, offset: int = 0, limit: int = PAGE_CARDS) -> CardPage:
        """Return a page of the cards that pass a filter.

        :param filter_: the filter.
        :param offset: number of passing cards before the page, 0 by default.
        :param limit: most cards of the page, 100 by default.
        """
        ...

    def card(self, index: int) -> Card | None:
        """Return the card at a position, whatever the filter.

        :param index: position among all cards, from 0. For a batch it is the ``index`` of its row.
        :return: ``None`` if there is none.
        """
        ...


class CardList:
    """Cards in memory: those of a task without a batch, or of a manifest without an index.

    :param cards: the cards.
    """

    def __init__(self, cards: Sequence[Card]) -> None:
        self._cards = cards
        self._totals = Totals.of(cards)

    @property
    def totals(self) -> Totals:
        """Totals of all cards."""
        return self._totals

    def page(self, filter_: CardFilter, offset: int = 0, limit: int = PAGE_CARDS) -> CardPage:
        """Return a page of the cards that pass a filter.

        :param filter_: the filter.
        :param offset: number of passing cards before the page, 0 by default.
        :param limit: most cards of the page, 100 by default.
        """
        if filter_.is_empty:
            return CardPage(self._cards[offset : offset + limit], offset, self._totals)
        passing = [card for card in self._cards if filter_.accepts(card)]
        return CardPage(passing[offset : offset + limit], offset, Totals.of(passing))

    def card(self, index: int) -> Card | None:
        """Return the card at a position; ``None`` if there is none.

        :param index: position, from 0.
        """
        return self._cards[index] if 0 <= index < len(self._cards) else None

    def __iter__(self) -> Iterator[Card]:
        """Yield all cards."""
        return iter(self._cards)


class ChainedCards:
    """The cards of several sources, one source after the other: the tasks of a run or of a DAG.

    :param sources: the sources.
    """

    def __init__(self, sources: Sequence[CardSource]) -> None:
        self._sources = sources

    @property
    def totals(self) -> Totals:
        """Totals of all cards."""
        return sum((source.totals for source in self._sources), Totals())

    def page(self, filter_: CardFilter, offset: int = 0, limit: int = PAGE_CARDS) -> CardPage:
        """Return a page of the cards that pass a filter.

        :param filter_: the filter.
        :param offset: number of passing cards before the page, 0 by default.
        :param limit: most cards of the page, 100 by default.
        """
        cards: list[Card] = []
        totals = Totals()
        for source in self._sources:
            first = max(offset - totals.cards, 0)
            part = source.page(filter_, first, limit - len(cards))
            cards += part.cards
            totals += part.totals
        return CardPage(cards, offset, totals)

    def card(self, index: int) -> Card | None:
        """Return the card at a position among the cards of all sources.

        :param index: position, from 0.
        :return: ``None`` if there is none.
        """
        for source in self._sources:
            if index < source.totals.cards:
                return source.card(index)
            index -= source.totals.cards
        return None
