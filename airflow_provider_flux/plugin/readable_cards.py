"""Cards of one manifest on a page with others: one that cannot be read leaves the others shown."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.card_source import PAGE_CARDS, CardPage, CardSource
from airflow_provider_flux.gallery.filters import CardFilter, Totals
from airflow_provider_flux.gallery.index_format import DamagedIndexError

#: Problems of an index whose first bytes were fine: its rest is damaged, or was replaced meanwhile.
_PROBLEMS = (DamagedIndexError, FluxError)


class ReadableCards:
    """The cards of a source that may turn out to be damaged; then it has none.

    :param cards: the source.
    :param report: called when it cannot be read.
    """

    def __init__(self, cards: CardSource, report: Callable[[], None] = lambda: None) -> None:
        self._cards = cards
        self._report = report
        self._is_damaged = False

    @property
    def totals(self) -> Totals:
        """Totals of all cards."""
        return Totals() if self._is_damaged else self._cards.totals

    def page(self, filter_: CardFilter, offset: int = 0, limit: int = PAGE_CARDS) -> CardPage:
        """Return a page of the cards that pass a filter; an empty one if they cannot be read.

        :param filter_: the filter.
        :param offset: number of passing cards before the page, 0 by default.
        :param limit: most cards of the page, 100 by default.
        """
        try:
            if not self._is_damaged:
                return self._cards.page(filter_, offset, limit)
        except _PROBLEMS:
            self._is_damaged = True
            self._report()
        return CardPage([], offset, Totals())

    def card(self, index: int) -> Card | None:
        """Return the card at a position; ``None`` if there is none, or it cannot be read.

        :param index: position, from 0.
        """
        try:
            return self._cards.card(index)
        except _PROBLEMS:
            return None
