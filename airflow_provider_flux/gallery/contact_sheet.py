"""A contact sheet: one HTML file with all cards, its thumbnails as data URIs, and no other file.

The sheet is written tile by tile, so that memory holds a few thumbnails at a time. Its size is
limited: after that, tiles have no picture, and the sheet says so.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.filters import CardFilter, Totals
from airflow_provider_flux.gallery.pages import (
    STATIC_FOLDER,
    CardLinks,
    View,
    environment,
    make_tile,
)

#: Bytes of all thumbnails of a sheet, before base64, by default.
MAX_THUMB_BYTES = 64 * 1024 * 1024
#: Most tiles of a sheet: a browser shows more of them slowly.
MAX_TILES = 20_000


class SheetCards(Protocol):
    """Cards that a sheet shows: a list, or those of an index."""

    @property
    def totals(self) -> Totals:
        """Totals of all cards."""
        ...

    def __iter__(self) -> Iterator[Card]:
        """Yield all cards."""
        ...


@dataclass
class SheetSummary:
    """Counts of what a sheet has.

    :param tiles: number of tiles.
    :param thumbs: number of thumbnails.
    :param thumb_bytes: bytes of the thumbnails, before base64.
    :param left_out: number of images whose thumbnail did not fit.
    """

    tiles: int = 0
    thumbs: int = 0
    thumb_bytes: int = 0
    left_out: int = 0


def write_sheet(
    file: IO[str],
    cards: SheetCards,
    thumbs: Iterable[tuple[Card, bytes | None]],
    *,
    title: str,
    folder: str = "",
    notices: Iterable[str] = (),
    max_thumb_bytes: int = MAX_THUMB_BYTES,
) -> SheetSummary:
    """Write a contact sheet.

    :param file: open text file in UTF-8.
    :param cards: the cards, for the totals and the choices of the filters.
    :param thumbs: each card with its thumbnail as webp, jpeg or png; ``None`` if it has none.
    :param title: title of the sheet.
    :param folder: folder in which the sheet will be, with a slash at its end. A tile links to its
        image if that is below the folder.
    :param notices: sentences above the tiles.
    :param max_thumb_bytes: most bytes of thumbnails, 64 MiB by default.
    :return: what the sheet has.
    """
    summary = SheetSummary()
    css = (STATIC_FOLDER / "gallery.css").read_text(encoding="utf-8")
    js = (STATIC_FOLDER / "gallery.js").read_text(encoding="utf-8")
    tiles = _tiles(thumbs, folder, summary, max_thumb_bytes)
    total = min(cards.totals.cards, MAX_TILES)
    stream = (
        environment()
        .get_template("sheet.html")
        .stream(
            view=View(title=title, action="", notices=list(notices)),
            totals=cards.totals,
            all_totals=cards.totals,
            filter=CardFilter(),
            reset_url=None,
            tiles=tiles,
            total=total,
            hidden_tiles=cards.totals.cards - total,
            summary=summary,
            css=css,
            js=js,
            css_hash=_csp_hash(css),
            js_hash=_csp_hash(js),
        )
    )
    stream.enable_buffering(64)
    for part in stream:
        file.write(part)
    return summary


def _tiles(
    thumbs: Iterable[tuple[Card, bytes | None]],
    folder: str,
    summary: SheetSummary,
    max_thumb_bytes: int,
) -> Iterator[dict[str, object]]:
    for card, thumb in thumbs:
        if summary.tiles == MAX_TILES:
            return
        summary.tiles += 1
        uri = encode_image(thumb) if thumb else None
        if thumb and uri and summary.thumb_bytes + len(thumb) > max_thumb_bytes:
            summary.left_out += 1
            uri = None
        elif thumb and uri:
            summary.thumbs += 1
            summary.thumb_bytes += len(thumb)
        full, sidecar = (relative_link(link, folder) for link in (card.uri, card.sidecar))
        yield make_tile(card, CardLinks(thumb=uri, full=full, sidecar=sidecar))


def encode_image(data: bytes) -> str | None:
    """Return an image as a data URI; ``None`` if it is no webp, jpeg or png.

    :param data: the bytes of a stranger.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    elif data[:3] == b"\xff\xd8\xff":
        kind = "jpeg"
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        kind = "png"
    else:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def relative_link(uri: str | None, folder: str) -> str | None:
    """Return the link from a page in a folder to an object below that folder.

    :param uri: URI of the object.
    :param folder: the folder, with a slash at its end.
    :return: ``None`` if the object is not below the folder.
    """
    if not uri or not folder or not uri.startswith(folder):
        return None
    parts = uri.removeprefix(folder).split("/")
    if {"", ".", ".."} & set(parts):
        return None
    return "./" + "/".join(quote(part, safe="", errors="replace") for part in parts)


def _csp_hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows a text of the page itself."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def default_title(name: str) -> str:
    """Return the title of a sheet for a folder or a manifest.

    :param name: path or URI.
    """
    return Path(name.rstrip("/")).name or "Images"
