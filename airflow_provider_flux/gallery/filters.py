"""Filters of the gallery, and totals of the cards that pass them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_flux.gallery.card import Card

#: Characters of a text that a filter looks for.
MAX_FILTER_CHARACTERS = 200
#: Values of a filter with several values.
MAX_FILTER_VALUES = 50
#: Different models and runs that totals name. Records of strangers may have any number.
MAX_NAMES = 200
#: Largest sum that totals show.
_MAX_SUM = 1e15


@dataclass(frozen=True)
class CardFilter:
    """Choice of the cards to show. An empty field lets all cards pass.

    :param outcomes: outcomes, of which the card has one.
    :param models: models, of which the card has one.
    :param runs: run ids, of which the card has one.
    :param key: text that the key contains, in any case.
    :param text: text that prompt, key, reason, model or request id contains, in any case.
    :param min_cost: smallest cost in credits. A card without a cost does not pass.
    :param max_cost: largest cost in credits. A card without a cost does not pass.
    """

    outcomes: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    key: str = ""
    text: str = ""
    min_cost: float | None = None
    max_cost: float | None = None

    @classmethod
    def from_query(cls, query: Iterable[tuple[str, str]]) -> CardFilter:
        """Return the filter of a query string. A value that makes no sense is ignored.

        :param query: names and values in any order: ``outcome``, ``model`` and ``run`` may repeat.
            Other names are ignored.
        """
        values: dict[str, list[str]] = {}
        for name, value in query:
            if value and len(values.setdefault(name, [])) < MAX_FILTER_VALUES:
                values[name].append(value)

        def last(name: str) -> str:
            return values.get(name, [""])[-1][:MAX_FILTER_CHARACTERS]

        return cls(
            outcomes=frozenset(values.get("outcome", ())),
            models=frozenset(values.get("model", ())),
            runs=frozenset(values.get("run", ())),
            key=last("key"),
            text=last("text"),
            min_cost=_parse_cost(last("min_cost")),
            max_cost=_parse_cost(last("max_cost")),
        )

    def to_pairs(self) -> list[tuple[str, str]]:
        """Return names and values of the query string that gives this filter."""
        pairs: list[tuple[str, str]] = []
        groups = (("outcome", self.outcomes), ("model", self.models), ("run", self.runs))
        for name, values in groups:
            pairs += [(name, value) for value in sorted(values)]
        pairs += [(name, value) for name in ("key", "text") if (value := getattr(self, name))]
        for name in ("min_cost", "max_cost"):
            if (cost := getattr(self, name)) is not None:
                pairs.append((name, f"{cost:g}"))
        return pairs

    @property
    def has_details(self) -> bool:
        """Whether it has any field besides outcomes and text."""
        return bool(self.models or self.runs or self.key) or self._has_cost

    @property
    def _has_cost(self) -> bool:
        return self.min_cost is not None or self.max_cost is not None

    @property
    def is_empty(self) -> bool:
        """Whether all cards pass."""
        return self == CardFilter()

    @property
    def needs_texts(self) -> bool:
        """Whether the filter looks into keys or other texts, which an index keeps in its blocks."""
        return bool(self.key or self.text)

    def accepts(self, card: Card) -> bool:
        """Whether a card passes.

        :param card: the card.
        """
        return (
            self.accepts_facts(card.outcome, card.model, card.cost)
            and (not self.runs or card.origin.run_id in self.runs)
            and self.accepts_texts(card)
        )

    def accepts_facts(self, outcome: str, model: str, cost: float | None) -> bool:
        """Whether a card with these facts may pass.

        :param outcome: its outcome.
        :param model: its model.
        :param cost: its cost in credits.
        """
        return (
            (not self.outcomes or outcome in self.outcomes)
            and (not self.models or model in self.models)
            and self.accepts_cost(cost)
        )

    def accepts_texts(self, card: Card) -> bool:
        """Whether key and texts of a card contain the texts that the filter looks for.

        :param card: the card.
        """
        if self.key and self.key.casefold() not in card.key.casefold():
            return False
        if not self.text:
            return True
        text = self.text.casefold()
        texts = (card.prompt, card.key, card.reason, card.model, card.request_id)
        return any(text in value.casefold() for value in texts if value)

    def accepts_cost(self, cost: float | None) -> bool:
        """Whether a card with this cost may pass.

        :param cost: its cost in credits.
        """
        if not self._has_cost:
            return True
        if cost is None:
            return False
        is_enough = self.min_cost is None or cost >= self.min_cost
        return is_enough and (self.max_cost is None or cost <= self.max_cost)


@dataclass
class Totals:
    """Totals of some cards.

    :param cards: number of cards.
    :param images: number of cards with an image or a video.
    :param credits: sum of the costs (1 credit = 0.01 USD).
    :param bytes: sum of the sizes of the files.
    :param outcomes: number of cards by outcome.
    :param models: number of cards by model.
    :param runs: number of cards by run id.
    """

    cards: int = 0
    images: int = 0
    credits: float = 0.0
    bytes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, cards: Iterable[Card]) -> Totals:
        """Return the totals of some cards.

        :param cards: the cards.
        """
        totals = cls()
        for card in cards:
            totals.add(card)
        return totals

    def add(self, card: Card) -> None:
        """Add a card.

        :param card: the card.
        """
        self.cards += 1
        self.images += card.has_media
        self.credits = min(self.credits + (card.cost or 0.0), _MAX_SUM)
        self.bytes += max(card.bytes or 0, 0)
        count_name(self.outcomes, card.outcome)
        count_name(self.models, card.model)
        count_name(self.runs, card.origin.run_id)

    def __add__(self, other: Totals) -> Totals:
        """Return the sum of two totals, for the cards of two tasks."""
        return Totals(
            cards=self.cards + other.cards,
            images=self.images + other.images,
            credits=min(self.credits + other.credits, _MAX_SUM),
            bytes=self.bytes + other.bytes,
            outcomes=_add_counts(self.outcomes, other.outcomes),
            models=_add_counts(self.models, other.models),
            runs=_add_counts(self.runs, other.runs),
        )


def count_name(counts: Counter[str], name: str, by: int = 1) -> None:
    """Count a name, unless it is empty or there are too many others.

    :param counts: the counts, which are changed.
    :param name: the name.
    :param by: number to add, 1 by default.
    """
    if name and (name in counts or len(counts) < MAX_NAMES):
        counts[name] += by


def _add_counts(first: Counter[str], second: Counter[str]) -> Counter[str]:
    counts = first.copy()
    for name, count in second.items():
        count_name(counts, name, count)
    return counts


def _parse_cost(text: str) -> float | None:
    try:
        cost = float(text)
    except ValueError:
        return None
    return cost if math.isfinite(cost) else None
