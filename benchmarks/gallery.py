"""Print what the pages of a gallery cost: by the index, and by reading the whole manifest.

``python -m benchmarks.gallery [ROWS]`` writes a manifest of 10,000 rows and its index to a
temporary folder. It prints CPU milliseconds, bytes that were read, and the peak of the memory of
Python: for the first page, for the last one, to which the key End scrolls, and for filters over all
rows. As in the API server, each page opens its source anew. The last lines are those of a manifest
whose index is missing: the first page reads it and keeps an index in memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from airflow_provider_flux.gallery.card import card_of_row
from airflow_provider_flux.gallery.card_source import CardList, CardSource
from airflow_provider_flux.gallery.filters import CardFilter
from airflow_provider_flux.gallery.indexed_cards import MatchCache, open_index
from airflow_provider_flux.gallery.manifest_cards import open_manifest_cards
from airflow_provider_flux.gallery.pages import CardLinks, View, render_gallery
from tests.support.gallery_cards import batch_cards, encode_index

_VIEW = View("Images", "/flux/gallery")
_REPEATS = 3
_CACHE = MatchCache()


class FileReads:
    """Reads of a file, whose bytes are counted.

    :param path: the file.
    :ivar size: its size.
    :ivar bytes_read: bytes that were read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size
        self.bytes_read = 0

    def __call__(self, start: int, end: int) -> bytes:
        """Return the bytes of a range."""
        with self._path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        self.bytes_read += len(data)
        return data


def open_by_index(reads: FileReads) -> CardSource:
    """Return the cards of an index."""
    return open_index(reads)


def open_again(reads: FileReads) -> CardSource:
    """Return the cards of an index, by the cache of earlier pages."""
    return open_index(reads, cache=_CACHE, version="1")


def open_by_manifest(reads: FileReads) -> CardSource:
    """Return the cards of a manifest that is read whole, as JSON."""
    lines = reads(0, reads.size).splitlines()
    return CardList([card_of_row(json.loads(line)) for line in lines])


def show_page(source: CardSource, filter_: CardFilter, offset: int = 0) -> None:
    """Render a page of the cards that pass a filter."""
    page = source.page(filter_, offset)
    html = render_gallery(
        _VIEW,
        page,
        all_totals=source.totals,
        filter_=filter_,
        link_card=lambda card: CardLinks(thumb=f"/flux/thumb?n={card.index}"),
    )
    assert html.count('class="tile"') == len(page.cards) > 0


def measure(open_cards: Callable[[], CardSource], show: Callable[[CardSource], None]) -> list[Any]:
    """Return CPU milliseconds, the least of a few repeats, and the peak of the memory in MiB."""
    times = []
    for _ in range(_REPEATS):
        began = time.process_time()
        show(open_cards())
        times.append(time.process_time() - began)
    tracemalloc.start()
    show(open_cards())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return [round(min(times) * 1000, 1), round(peak / 2**20, 2)]


def main() -> None:
    """Print the table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    cards = list(batch_cards(rows))
    with tempfile.TemporaryDirectory() as folder:
        manifest, index = Path(folder) / "m.jsonl", Path(folder) / "m.jsonl.index"
        lines = (json.dumps({**asdict(card), "origin": None}) + "\n" for card in cards)
        manifest.write_text("".join(lines))
        began = time.process_time()
        index.write_bytes(encode_index(cards, manifest.stat().st_size))
        print(f"{rows} rows: manifest {manifest.stat().st_size / 2**20:.1f} MiB, index", end=" ")
        print(f"{index.stat().st_size / 2**20:.1f} MiB, written in", end=" ")
        print(f"{(time.process_time() - began) * 1000:.0f} ms of CPU")
        print_table(manifest, index, rows)
        show_page(open_manifest_cards(str(manifest)), CardFilter())  # import what reads a store
        index.unlink()
        print_without_index(manifest)


def print_without_index(manifest: Path) -> None:
    """Print the CPU of the first page of a manifest without an index, and of the next page."""
    for name, offset in (("first page", 0), ("second page", 100)):
        began = time.process_time()
        show_page(open_manifest_cards(str(manifest)), CardFilter(), offset)
        print(f"without an index, {name}: {(time.process_time() - began) * 1000:.0f} ms of CPU")


def print_table(manifest: Path, index: Path, rows: int) -> None:
    """Print a row for each page and each way to read the cards."""
    text = CardFilter(text="tokyo neon")
    pages = [
        ("first page", CardFilter(), 0),
        ("last page", CardFilter(), rows - 100),
        ("filter by outcome", CardFilter(outcomes=frozenset({"moderated"})), 0),
        ("filter by cost", CardFilter(min_cost=5), 0),
        ("filter by text", text, 0),
        ("filter by text, second page", text, 100),
    ]
    print(f"{'page':28} {'by':10} {'CPU ms':>8} {'MiB peak':>9} {'KiB read':>9}")
    for name, filter_, offset in pages:
        is_next = "second" in name
        for way, open_cards, path in (
            ("index", open_again if is_next else open_by_index, index),
            ("manifest", open_by_manifest, manifest),
        ):
            show_page(open_cards(FileReads(path)), filter_, offset)  # compile the templates
            reads = FileReads(path)
            show_page(open_cards(reads), filter_, offset)
            milliseconds, peak = measure(
                partial(open_cards, FileReads(path)),
                partial(show_page, filter_=filter_, offset=offset),
            )
            print(f"{name:28} {way:10} {milliseconds:8} {peak:9} {reads.bytes_read // 1024:9}")


if __name__ == "__main__":
    main()
