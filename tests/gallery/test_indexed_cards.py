"""Pages of cards by an index equal those of the whole list, and read a bounded part of the file."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from dataclasses import replace

import pytest

from airflow_provider_flux.gallery.card import Card, CardOrigin
from airflow_provider_flux.gallery.card_source import CardList, ChainedCards
from airflow_provider_flux.gallery.filters import CardFilter
from airflow_provider_flux.gallery.index_format import FIRST_READ_BYTES, DamagedIndexError, compress
from airflow_provider_flux.gallery.indexed_cards import IndexedCards, MatchCache, open_index
from tests.support.gallery_cards import RangeReads, batch_cards, encode_index

ORIGIN = CardOrigin("shop", "run-1", "images")
FILTERS = {
    "all": CardFilter(),
    "outcome": CardFilter(outcomes=frozenset({"moderated"})),
    "unknown outcome": CardFilter(outcomes=frozenset({"exploded"})),
    "model": CardFilter(models=frozenset({"flux-2-pro"})),
    "run": CardFilter(runs=frozenset({"run-1"})),
    "other run": CardFilter(runs=frozenset({"run-2"})),
    "key": CardFilter(key="SKU-0002"),
    "text": CardFilter(text="Tokyo Dogs"),
    "cost": CardFilter(min_cost=5, max_cost=6),
    "several": CardFilter(models=frozenset({"flux-2-pro"}), text="fox", max_cost=5),
}


@pytest.fixture(scope="module")
def cards() -> list[Card]:
    return list(batch_cards(1234, origin=ORIGIN))


@pytest.fixture(scope="module")
def index(cards: list[Card]) -> bytes:
    return encode_index(cards)


def open_data(data: bytes) -> IndexedCards:
    return open_index(RangeReads(data), origin=ORIGIN)


class TestPage:
    @pytest.mark.parametrize("offset", [0, 30, 100, 150, 1200, 1300])
    @pytest.mark.parametrize("name", FILTERS)
    def test_a_page_by_the_index_is_that_of_the_whole_list(
        self, cards: list[Card], index: bytes, name: str, offset: int
    ) -> None:
        filter_ = FILTERS[name]
        page = open_data(index).page(filter_, offset)
        expected = CardList(cards).page(filter_, offset)
        assert list(page.cards) == list(expected.cards)
        assert page.offset == offset
        assert page.totals.credits == pytest.approx(expected.totals.credits)
        assert replace(page.totals, credits=0.0) == replace(expected.totals, credits=0.0)

    def test_the_first_page_is_one_read_of_64_kib(self, index: bytes) -> None:
        read = RangeReads(index)
        page = open_index(read).page(CardFilter())
        assert len(page.cards) == 100
        assert read.reads == [(0, FIRST_READ_BYTES)]

    def test_any_other_page_is_one_more_read_of_one_or_two_blocks(self, index: bytes) -> None:
        read = RangeReads(index)
        source = open_index(read)
        for offset in (1000, 1050, 1134):
            read.reads.clear()
            source.page(CardFilter(), offset)
            assert len(read.reads) == 1
            assert read.bytes_read < FIRST_READ_BYTES

    def test_a_filter_by_facts_reads_columns_and_the_blocks_of_its_page(self) -> None:
        read = RangeReads(encode_index(batch_cards(10_000)))
        source = open_index(read)
        source.page(CardFilter(outcomes=frozenset({"moderated"})), limit=6)
        assert read.bytes_read < len(read.data) / 10

    def test_a_name_beyond_those_of_the_columns_is_found(self) -> None:
        cards = [Card(index=n, model=f"model-{n}", outcome="invalid") for n in range(450)]
        source = open_data(encode_index(cards))
        page = source.page(CardFilter(models=frozenset({"model-7", "model-444"})))
        assert [card.model for card in page.cards] == ["model-7", "model-444"]
        assert page.totals.cards == 2

    def test_a_filter_over_5000_cards_needs_little_memory(self) -> None:
        read = RangeReads(encode_index(batch_cards(5_000)))
        source = open_index(read)
        tracemalloc.start()
        page = source.page(CardFilter(key="sku-0049"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert page.totals.cards == 100
        assert peak < 6 * 1024 * 1024


class TestCard:
    def test_a_card_is_found_by_its_position(self, cards: list[Card], index: bytes) -> None:
        source = open_data(index)
        assert [source.card(n) for n in (0, 99, 100, 1233)] == [
            cards[n] for n in (0, 99, 100, 1233)
        ]
        assert source.card(1234) is None
        assert source.card(-1) is None

    def test_the_cards_of_a_page_one_by_one_read_their_block_once(
        self, cards: list[Card], index: bytes
    ) -> None:
        read = RangeReads(index)
        source = open_index(read, origin=ORIGIN)
        read.reads.clear()
        assert [source.card(n) for n in range(1100, 1234)] == cards[1100:]
        assert len(read.reads) == 2

    def test_all_cards_come_in_their_order(self, cards: list[Card], index: bytes) -> None:
        assert list(open_data(index)) == cards


class TestChain:
    @pytest.mark.parametrize("offset", [0, 1200, 1300, 2400])
    def test_the_tasks_of_a_run_are_one_list(self, cards: list[Card], offset: int) -> None:
        other = list(batch_cards(1234, origin=CardOrigin("shop", "run-2", "images"), seed=2))
        chain = ChainedCards([open_data(encode_index(cards)), CardList(other)])
        expected = CardList([*cards, *other])
        for filter_ in (CardFilter(), CardFilter(text="fox"), CardFilter(runs=frozenset({"x"}))):
            page = chain.page(filter_, offset)
            assert list(page.cards) == list(expected.page(filter_, offset).cards)
            assert page.totals.cards == expected.page(filter_).totals.cards
        assert chain.card(1234) == other[0]
        assert chain.card(5000) is None


class TestCache:
    def test_a_scroll_through_filtered_cards_filters_once(self, index: bytes) -> None:
        read = RangeReads(index)
        source = open_index(read, cache=MatchCache(), version="v1")
        filter_ = CardFilter(text="fox")
        source.page(filter_)
        read.reads.clear()
        assert source.page(filter_, 200).cards
        assert read.bytes_read < len(index) / 2

    def test_another_version_of_the_index_is_filtered_again(self, cards: list[Card]) -> None:
        cache, filter_ = MatchCache(), CardFilter(text="fox")
        for version, count in (("v1", 1234), ("v2", 500)):
            read = RangeReads(encode_index(cards[:count]))
            page = open_index(read, cache=cache, version=version).page(filter_)
            assert page.totals.cards == CardList(cards[:count]).page(filter_).totals.cards

    def test_the_cache_drops_the_oldest_filters(self, index: bytes) -> None:
        cache = MatchCache(max_positions=3000)
        source = open_index(RangeReads(index), cache=cache, version="v1")
        filters = [CardFilter(key=f"sku-00000{n}") for n in range(4)]
        for filter_ in filters:
            source.page(filter_)
        known = [cache.get("v1", filter_) is not None for filter_ in filters]
        assert known == [False, False, True, True]


class TestDamage:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"not gzip",
            compress(b"{}\n"),
            compress(b"[1, 2]\n"),
            compress(b"[" * 100_000),
            compress(b" " * 3_000_000),
            compress(b'{"flux_index": 2}\n'),
        ],
    )
    def test_a_file_that_is_no_index_is_refused(self, data: bytes) -> None:
        with pytest.raises(DamagedIndexError):
            open_data(data)

    def test_an_index_that_is_cut_is_refused(self, index: bytes) -> None:
        for length in (10, 300, len(index) // 2, len(index) - 1):
            with pytest.raises(DamagedIndexError):
                open_data(index[:length]).page(CardFilter(min_cost=1), 1200)

    def test_a_header_of_a_stranger_allocates_nothing_beyond_its_size(self, index: bytes) -> None:
        header = json.loads(gzip.decompress(index).splitlines()[0])
        changes = {
            "cards": [-1, 10**12, True, "x", None],
            "blocks": [[10**9] * 13, ["a"] * 13, [0] * 13, None, [30] * 12],
            "columns": [[], [1], [-5]],
            "outcomes": [None, [1], ["x"] * 1000],
            "outcome_counts": [{"landed": 10**9}, {"landed": "x"}],
            "manifest_bytes": [-1, None],
            "fields": [[], None],
        }
        for name, values in changes.items():
            for value in values:
                with pytest.raises(DamagedIndexError):
                    open_data(compress(json.dumps({**header, name: value}).encode()))

    def test_columns_of_a_stranger_are_refused(self) -> None:
        filter_ = CardFilter(min_cost=1)
        good = {"outcome": [0], "model": [0], "cost": [4], "bytes": [1], "media": [1]}
        assert open_data(planted_index(good)).page(filter_).totals.cards == 1
        bad_values = {
            "outcome": [[1], ["x"], [], None, [True]],
            "model": [[9], [-2]],
            "bytes": [[-1], [10**30]],
            "media": [[2]],
        }
        for name, values in bad_values.items():
            for value in values:
                with pytest.raises(DamagedIndexError):
                    open_data(planted_index({**good, name: value})).page(filter_)

    def test_a_block_that_would_fill_the_memory_is_refused(self) -> None:
        bomb = compress(b"\n" * 30_000_000)
        with pytest.raises(DamagedIndexError, match="too large"):
            open_data(planted_index({}, block=bomb)).page(CardFilter())

    @pytest.mark.parametrize("name", ["block", "columns"])
    def test_many_small_values_in_a_part_are_refused_before_they_fill_the_memory(
        self, name: str
    ) -> None:
        values = [[]] * 3_000_000  # 12 MB of JSON, 200 MB as lists
        block = compress(json.dumps(values).encode()) if name == "block" else None
        cards = open_data(planted_index({"outcome": values}, block=block))
        tracemalloc.start()
        try:
            with pytest.raises(DamagedIndexError, match="too large"):
                cards.page(CardFilter(min_cost=1) if name == "columns" else CardFilter())
            assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
        finally:
            tracemalloc.stop()


class TestReadable:
    def test_zcat_prints_the_whole_index(self, cards: list[Card], index: bytes) -> None:
        lines = gzip.decompress(index).decode().splitlines()
        header = json.loads(lines[0])
        first = dict(zip(header["fields"], json.loads(lines[1]), strict=True))
        assert header["cards"] == 1234
        assert first["prompt"] == cards[0].prompt
        assert len(lines) == 1 + 1234 + 1


def planted_index(columns: dict[str, object], block: bytes | None = None) -> bytes:
    """Return an index of one card with other columns, or another block."""
    plain = encode_index(batch_cards(1))
    header = json.loads(gzip.decompress(plain).splitlines()[0])
    first = compress(gzip.decompress(plain).splitlines()[1]) if block is None else block
    second = compress(json.dumps(columns).encode())
    header |= {"blocks": [len(first)], "columns": [len(second)]}
    return compress(json.dumps(header).encode()) + first + second
