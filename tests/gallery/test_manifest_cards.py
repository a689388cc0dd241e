"""The cards of a manifest in each store: by its index, and without one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.gallery import manifest_cards
from airflow_provider_flux.gallery.card import CardOrigin
from airflow_provider_flux.gallery.filters import CardFilter
from airflow_provider_flux.gallery.manifest_cards import PlainLimits, index_uri, open_manifest_cards
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put
from tests.support.gallery_cards import batch_cards, encode_index
from tests.support.object_stores import Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TEXT = WriteOptions("text/plain")
LOCAL = pytest.mark.parametrize("store", ["file"], indirect=True)


def write(store: Store, name: str, data: bytes) -> str:
    uri = f"{store.root}/shop/{name}"
    open_path(uri)
    run_sync(put(uri, data, TEXT))
    return uri


def row_of(index: int) -> dict[str, Any]:
    return {"index": index, "key": f"k{index}", "outcome": "landed", "uri": f"/x/{index}.png"}


def manifest_of(count: int) -> bytes:
    return "".join(json.dumps(row_of(n)) + "\n" for n in range(count)).encode()


def test_the_cards_of_a_manifest_come_from_its_index(store: Store) -> None:
    cards = list(batch_cards(150, origin=CardOrigin("d", "r", "t")))
    manifest = write(store, "m.jsonl", b"not a manifest")
    write(store, "m.jsonl.index", encode_index(cards, len(b"not a manifest")))
    source = open_manifest_cards(manifest, CardOrigin("d", "r", "t"))
    assert list(source.page(CardFilter(), 100).cards) == cards[100:]
    assert source.card(149) == cards[149]


@LOCAL
def test_a_link_to_the_index_of_another_manifest_does_not_count(
    store: Store, tmp_path: Path
) -> None:
    manifest = write(store, "linked.jsonl", manifest_of(1))
    foreign = tmp_path / "foreign.index"
    foreign.write_bytes(encode_index(batch_cards(3), len(manifest_of(1))))
    Path(index_uri(manifest).removeprefix("file://")).symlink_to(foreign)
    assert [card.key for card in open_manifest_cards(manifest)] == ["k0"]


@LOCAL
def test_a_manifest_with_too_many_rows_is_refused_and_not_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(store, "long.jsonl", b"{}\n" * 1001)
    limits = PlainLimits(rows=1000)
    with pytest.raises(FluxStorageError, match="more than 1000 rows"):
        open_manifest_cards(manifest, limits=limits)
    monkeypatch.setattr(manifest_cards, "_build_index", lambda *_: pytest.fail("read again"))
    with pytest.raises(FluxStorageError, match="more than 1000 rows"):
        open_manifest_cards(manifest, limits=limits)


@LOCAL
def test_a_parquet_manifest_without_an_index_is_not_read_if_it_must_not_be(store: Store) -> None:
    manifest = write(store, "m.parquet", b"PAR1")
    with pytest.raises(FluxStorageError, match="Parquet is not read here"):
        open_manifest_cards(manifest, limits=PlainLimits(has_parquet=False))


def test_a_manifest_without_an_index_is_read_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(store, "old.jsonl", manifest_of(250) + b"not json\n[7]")
    source = open_manifest_cards(manifest)
    assert source.totals.outcomes == {"landed": 250, "damaged": 1}
    assert source.totals.cards == 252
    monkeypatch.setattr(manifest_cards, "_build_index", lambda *_: pytest.fail("read again"))
    assert len(open_manifest_cards(manifest).page(CardFilter(), 200).cards) == 52


def test_an_index_of_an_earlier_manifest_is_not_used(store: Store) -> None:
    manifest = write(store, "later.jsonl", manifest_of(3))
    write(store, "later.jsonl.index", encode_index(batch_cards(2), 99))
    assert [card.key for card in open_manifest_cards(manifest)] == ["k0", "k1", "k2"]


@LOCAL
def test_a_manifest_that_is_too_large_needs_an_index_of_its_own(store: Store) -> None:
    manifest = write(store, "large.jsonl", manifest_of(3))
    size = len(manifest_of(3))
    write(store, "large.jsonl.index", encode_index(batch_cards(2), size - 1))
    with pytest.raises(FluxStorageError, match="too large without one"):
        open_manifest_cards(manifest, limits=PlainLimits(bytes=size - 1))
    write(store, "large.jsonl.index", encode_index(batch_cards(2), size))
    assert open_manifest_cards(manifest, limits=PlainLimits(bytes=size - 1)).totals.cards == 2


@LOCAL
@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b broken", encode_index(batch_cards(5))[:200]])
def test_a_damaged_index_is_a_warning(
    store: Store, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write(store, "m.jsonl", manifest_of(3))
    write(store, "m.jsonl.index", damage)
    assert len(list(open_manifest_cards(manifest))) == 3
    assert f"{index_uri(manifest)} is not used" in caplog.text


@LOCAL
def test_a_missing_manifest_and_a_row_without_an_end_are_errors(store: Store) -> None:
    with pytest.raises(FluxStorageError, match="does not exist"):
        open_manifest_cards(f"{store.root}/none.jsonl")
    manifest = write(store, "m.jsonl", b"x" * (3 * 1024 * 1024))
    with pytest.raises(FluxStorageError, match="a row of more than 1 MiB"):
        open_manifest_cards(manifest)


@LOCAL
def test_a_parquet_manifest_without_an_index_gives_its_rows(store: Store) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row_of(n) for n in range(5)]), buffer)
    manifest = write(store, "m.parquet", buffer.getvalue().to_pybytes())
    assert [card.key for card in open_manifest_cards(manifest)] == [f"k{n}" for n in range(5)]
    broken = write(store, "broken.parquet", b"PAR1 no")
    with pytest.raises(FluxStorageError, match="no Parquet file"):
        open_manifest_cards(broken)


class TestBuiltIndexes:
    def test_a_manifest_that_is_read_slowly_delays_no_other_one_and_is_read_once(self) -> None:
        built = manifest_cards.BuiltIndexes(max_bytes=100)
        begun, may_end = Event(), Event()
        builds = []

        def build_slowly() -> bytes:
            builds.append(1)
            begun.set()
            assert may_end.wait(60)
            return b"slow"

        with ThreadPoolExecutor(2) as threads:
            answers = [threads.submit(built.get, "slow", build_slowly) for _ in range(2)]
            assert begun.wait(60)
            assert built.get("other", lambda: b"other") == b"other"
            may_end.set()
            assert [answer.result(60) for answer in answers] == [b"slow", b"slow"]
        assert builds == [1]

    def test_a_manifest_that_cannot_be_read_is_read_again_by_the_next_page(self) -> None:
        built = manifest_cards.BuiltIndexes(max_bytes=100)

        def fail() -> bytes:
            raise FluxStorageError("gone")

        with pytest.raises(FluxStorageError):
            built.get("1", fail)
        assert built.get("1", lambda: b"back") == b"back"

    def test_the_oldest_indexes_are_dropped(self) -> None:
        built = manifest_cards.BuiltIndexes(max_bytes=100)
        for version in "abc":
            built.get(version, lambda: b"x" * 40)
        assert built.get("c", lambda: b"new") == b"x" * 40
        assert built.get("a", lambda: b"new") == b"new"
