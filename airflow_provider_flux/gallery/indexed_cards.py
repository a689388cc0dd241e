"""Cards of a manifest by its index: each page reads a bounded part of the file."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from threading import Lock

from airflow_provider_flux.gallery.card import NO_ORIGIN, Card, CardOrigin
from airflow_provider_flux.gallery.card_source import PAGE_CARDS, CardPage
from airflow_provider_flux.gallery.filters import CardFilter, Totals, count_name
from airflow_provider_flux.gallery.index_format import (
    BLOCK_CARDS,
    COLUMN_CARDS,
    FIRST_READ_BYTES,
    MAX_HEADER_BYTES,
    Columns,
    DamagedIndexError,
    IndexHeader,
    decode_block,
    decode_columns,
    decode_header,
)

#: Reads the bytes of a file from a start to an end, which may be beyond that of the file.
ReadRange = Callable[[int, int], bytes]
#: Most bytes of one read of several blocks.
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Matches:
    """The cards that pass a filter.

    :param positions: their positions, in order.
    :param totals: their totals.
    """

    positions: array[int]
    totals: Totals


class MatchCache:
    """A cache of the cards that pass a filter, so that a scroll filters once.

    :param max_positions: positions that the cache keeps in all, of 4 bytes each; by default 4
        million. The oldest are dropped.
    """

    def __init__(self, max_positions: int = 4_000_000) -> None:
        self._max_positions = max_positions
        self._entries: OrderedDict[tuple[str, CardFilter], Matches] = OrderedDict()
        self._positions = 0
        self._lock = Lock()

    def get(self, version: str, filter_: CardFilter) -> Matches | None:
        """Return the cards that pass a filter; ``None`` if they are not known.

        :param version: text that identifies the index and its version.
        :param filter_: the filter.
        """
        with self._lock:
            matches = self._entries.get((version, filter_))
            if matches is not None:
                self._entries.move_to_end((version, filter_))
            return matches

    def put(self, version: str, filter_: CardFilter, matches: Matches) -> None:
        """Keep the cards that pass a filter.

        :param version: text that identifies the index and its version.
        :param filter_: the filter.
        :param matches: the cards.
        """
        with self._lock:
            if (version, filter_) not in self._entries:
                self._positions += _weight(matches)
            self._entries[version, filter_] = matches
            while self._positions > self._max_positions:
                _, dropped = self._entries.popitem(last=False)
                self._positions -= _weight(dropped)


def _weight(matches: Matches) -> int:
    """Return the positions that an entry counts for: its own, and those of an empty one."""
    return len(matches.positions) + 1000


class IndexedCards:
    """The cards of a manifest by its index. Each method reads the parts that it needs.

    :param read: reads a range of the index.
    :param header: header of the index.
    :param header_bytes: length of the header in the file.
    :param origin: task instance that wrote the manifest.
    :param start: the beginning of the file, as far as it is read already.
    :param cache: cache of filtered cards; ``None`` for none.
    :param version: text that identifies the index and its version, for the cache.
    :param has_prompts: whether the cards have their prompts, as those of an index of a batch do.
    """

    def __init__(
        self,
        read: ReadRange,
        header: IndexHeader,
        header_bytes: int,
        *,
        origin: CardOrigin = NO_ORIGIN,
        start: bytes = b"",
        cache: MatchCache | None = None,
        version: str = "",
        has_prompts: bool = True,
    ) -> None:
        self._read = read
        self._has_prompts = has_prompts
        self._header = header
        self._offsets = [header_bytes + offset for offset in header.offsets]
        self._origin = origin
        self._start = start
        self._cache = cache
        self._version = version
        self._last_block: tuple[int, list[Card]] = (-1, [])  # a browser asks for those of a page
        totals = header.totals
        self._totals = replace(totals, runs=totals.runs.copy())
        count_name(self._totals.runs, origin.run_id, totals.cards)

    @property
    def totals(self) -> Totals:
        """Totals of all cards."""
        return self._totals

    @property
    def has_prompts(self) -> bool:
        """Whether the cards have their prompts, as far as the batch recorded them."""
        return self._has_prompts

    @property
    def manifest_bytes(self) -> int:
        """Size of the manifest when the index was written."""
        return self._header.manifest_bytes

    def page(self, filter_: CardFilter, offset: int = 0, limit: int = PAGE_CARDS) -> CardPage:
        """Return a page of the cards that pass a filter.

        :param filter_: the filter.
        :param offset: number of passing cards before the page, 0 by default.
        :param limit: most cards of the page, 100 by default.
        :raises DamagedIndexError: if the index is cut or not valid.
        """
        if filter_.is_empty:
            positions = range(self._totals.cards)[offset : offset + limit]
            return CardPage(self._cards_at(positions), offset, self._totals)
        matches = self._find_matches(filter_)
        chosen = matches.positions[offset : offset + limit]
        return CardPage(self._cards_at(chosen), offset, matches.totals)

    def card(self, index: int) -> Card | None:
        """Return the card at a position; ``None`` if there is none.

        :param index: position, from 0.
        :raises DamagedIndexError: if the index is cut or not valid.
        """
        if not 0 <= index < self._totals.cards:
            return None
        number = index // BLOCK_CARDS
        known, cards = self._last_block
        if known != number:
            cards = self._cards_at(range(number * BLOCK_CARDS, self._totals.cards)[:BLOCK_CARDS])
            self._last_block = number, cards
        return cards[index % BLOCK_CARDS]

    def __iter__(self) -> Iterator[Card]:
        """Yield all cards, of which memory holds those of a few blocks at a time.

        :raises DamagedIndexError: if the index is cut or not valid.
        """
        for _, cards in self._blocks(range(len(self._header.blocks))):
            yield from cards

    def _cards_at(self, positions: range | array[int] | list[int]) -> list[Card]:
        numbers = list(dict.fromkeys(position // BLOCK_CARDS for position in positions))
        blocks = dict(self._blocks(numbers))
        return [blocks[position // BLOCK_CARDS][position % BLOCK_CARDS] for position in positions]

    def _blocks(self, numbers: range | list[int]) -> Iterator[tuple[int, list[Card]]]:
        """Yield the cards of some blocks. Blocks beside each other are one read."""
        for first, last in _groups(numbers, self._offsets):
            begin = self._offsets[first]
            data = self._read_part(begin, self._offsets[last + 1])
            for number in range(first, last + 1):
                member = data[self._offsets[number] - begin : self._offsets[number + 1] - begin]
                yield number, self._decode(number, member)

    def _decode(self, number: int, member: bytes) -> list[Card]:
        cards = decode_block(member, self._origin)
        if len(cards) != min(BLOCK_CARDS, self._totals.cards - number * BLOCK_CARDS):
            raise DamagedIndexError("a block has another number of cards")
        return cards

    def _read_part(self, begin: int, end: int) -> bytes:
        if end <= len(self._start):
            return self._start[begin:end]
        data = self._read(begin, end)
        if len(data) != end - begin:
            raise DamagedIndexError("it is cut")
        return data

    def _find_matches(self, filter_: CardFilter) -> Matches:
        if self._cache and (known := self._cache.get(self._version, filter_)):
            return known
        matches = Matches(array("I"), Totals())
        if not filter_.runs or self._origin.run_id in filter_.runs:
            self._add_matches(matches, filter_)
        if self._cache:
            self._cache.put(self._version, filter_, matches)
        return matches

    def _add_matches(self, matches: Matches, filter_: CardFilter) -> None:
        first = 0
        for columns in self._columns():
            candidates, is_certain = _choose(columns, first, filter_, self._header)
            if is_certain and not filter_.needs_texts:
                for position in candidates:
                    fact = _fact_card(columns, position - first, self._header, self._origin)
                    matches.totals.add(fact)
                matches.positions.extend(candidates)
            else:
                self._match_cards(matches, filter_, candidates)
            first += len(columns.cost)

    def _match_cards(self, matches: Matches, filter_: CardFilter, candidates: array[int]) -> None:
        """Add the candidates that pass, by the cards in their blocks."""
        by_block: dict[int, list[int]] = {}
        for position in candidates:
            by_block.setdefault(position // BLOCK_CARDS, []).append(position)
        for number, cards in self._blocks(list(by_block)):
            for position in by_block[number]:
                card = cards[position % BLOCK_CARDS]
                if filter_.accepts(card):
                    matches.positions.append(position)
                    matches.totals.add(card)

    def _columns(self) -> Iterator[Columns]:
        count, offset = self._totals.cards, len(self._header.blocks)
        for number in range(len(self._header.columns)):
            begin, end = self._offsets[offset + number], self._offsets[offset + number + 1]
            member = self._read_part(begin, end)
            expected = min(COLUMN_CARDS, count - number * COLUMN_CARDS)
            yield decode_columns(member, expected, self._header)


def open_index(
    read: ReadRange,
    *,
    origin: CardOrigin = NO_ORIGIN,
    cache: MatchCache | None = None,
    version: str = "",
    has_prompts: bool = True,
) -> IndexedCards:
    """Open an index: read its header, and usually its first block, in one read.

    :param read: reads a range of the index.
    :param origin: task instance that wrote the manifest.
    :param cache: cache of filtered cards; ``None`` for none.
    :param version: text that identifies the index and its version, for the cache.
    :param has_prompts: whether the cards have their prompts; ``True`` by default.
    :raises DamagedIndexError: if this is no index, or one of another version.
    """
    start = read(0, FIRST_READ_BYTES)
    decoded = decode_header(start)
    while decoded is None:
        more = read(len(start), min(4 * len(start), MAX_HEADER_BYTES)) if start else b""
        if not more:
            raise DamagedIndexError("it is cut")
        start += more
        decoded = decode_header(start)
    header, length = decoded
    return IndexedCards(
        read,
        header,
        length,
        origin=origin,
        start=start,
        cache=cache,
        version=version,
        has_prompts=has_prompts,
    )


def _groups(numbers: range | list[int], offsets: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last number of blocks that are beside each other, for one read each."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = last = number
        elif number == last + 1 and offsets[number + 1] - offsets[first] <= _READ_BYTES:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last


def _choose(
    columns: Columns, first: int, filter_: CardFilter, header: IndexHeader
) -> tuple[array[int], bool]:
    """Return the positions whose facts may pass, and whether they pass for certain.

    They are not certain if a name of a candidate is beyond those that the columns have.
    """
    outcomes = _chosen_numbers(header.outcomes, filter_.outcomes)
    models = _chosen_numbers(header.models, filter_.models)
    candidates = array("I")
    is_certain = True
    facts = zip(columns.outcome, columns.model, columns.cost, strict=True)
    for position, (outcome, model, cost) in enumerate(facts, first):
        if outcome in outcomes and model in models and filter_.accepts_cost(cost):
            candidates.append(position)
            is_certain = is_certain and outcome >= 0 and model >= 0
    return candidates, is_certain


def _chosen_numbers(names: tuple[str, ...], chosen: frozenset[str]) -> frozenset[int]:
    numbers = {number for number, name in enumerate(names) if not chosen or name in chosen}
    return frozenset({-1, *numbers})


def _fact_card(columns: Columns, index: int, header: IndexHeader, origin: CardOrigin) -> Card:
    """Return a card that has what totals count."""
    return Card(
        outcome=header.outcomes[columns.outcome[index]],
        model=header.models[columns.model[index]],
        cost=columns.cost[index],
        bytes=columns.bytes[index],
        uri="-" if columns.media[index] else None,
        origin=origin,
    )
