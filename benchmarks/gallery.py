"""Print what the pages of a gallery cost: by the index, and by reading the whole manifest.

``python -m benchmarks.gallery [ROWS]`` writes a manifest of 10,000 rows and its index to a
temporary folder. It prints CPU milliseconds, bytes that were read, and the peak of the memory of
Python: for the first page, filters over all rows, and a scroll to the end.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_provider_flux.gallery.card import card_of_row
from airflow_provider_flux.gallery.card_source import CardList, CardSource
from airflow_provider_flux.gallery.filters import CardFilter
from airflow_provider_flux.gallery.indexed_cards import MatchCache, open_index
from airflow_provider_flux.gallery.pages import CardLinks, View, render_gallery, render_tiles
from tests.support.gallery_cards import batch_cards, encode_index

_VIEW = View("Images", "/flux/gallery")
_REPEATS = 5


class FileReads:
    """Reads of a file, whose bytes are counted.

    :param path: the file.
    :ivar bytes_read: bytes that were read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
    return open_index(reads, cache=MatchCache(), version="1")


def open_by_manifest(reads: FileReads) -> CardSource:
    """Return the cards of a manifest that is read whole, as JSON."""
    lines = reads(0, sys.maxsize).splitlines()
    return CardList([card_of_row(json.loads(line)) for line in lines])


def show_first_page(source: CardSource, filter_: CardFilter) -> None:
    """Render the first page of the cards that pass a filter."""
    page = source.page(filter_)
    html = render_gallery(
        _VIEW,
        page,
        all_totals=source.totals,
        filter_=filter_,
        link_card=lambda card: CardLinks(thumb=f"/flux/thumb?n={card.index}"),
    )
    assert html.count('class="tile"') == len(page.cards) > 0


def scroll_to_end(source: CardSource, filter_: CardFilter) -> None:
    """Render the tiles of every page."""
    for offset in range(0, source.totals.cards, 100):
        page = source.page(filter_, offset)
        render_tiles(page, link_card=lambda card: CardLinks(thumb="/flux/thumb"))


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
        print_table(manifest, index)


def print_table(manifest: Path, index: Path) -> None:
    """Print a row for each action and each way to read the cards."""
    actions: list[tuple[str, Callable[[CardSource, CardFilter], None], CardFilter]] = [
        ("first page", show_first_page, CardFilter()),
        ("filter by outcome", show_first_page, CardFilter(outcomes=frozenset({"moderated"}))),
        ("filter by cost", show_first_page, CardFilter(min_cost=5)),
        ("filter by text", show_first_page, CardFilter(text="tokyo neon")),
        ("scroll to the end", scroll_to_end, CardFilter()),
        ("scroll, filtered", scroll_to_end, CardFilter(text="fox", min_cost=5)),
    ]
    print(f"{'action':20} {'by':10} {'CPU ms':>8} {'MiB peak':>9} {'KiB read':>9}")
    for name, show, filter_ in actions:
        for way, open_cards, path in (
            ("index", open_by_index, index),
            ("manifest", open_by_manifest, manifest),
        ):
            reads = FileReads(path)
            show(open_cards(reads), filter_)  # and the templates are compiled
            read = reads.bytes_read // 1024
            figures = measure(
                lambda o=open_cards, r=reads: o(r),  # type: ignore[misc]
                lambda source, s=show, f=filter_: s(source, f),  # type: ignore[misc]
            )
            print(f"{name:20} {way:10} {figures[0]:8} {figures[1]:9} {read:9}")


if __name__ == "__main__":
    main()
