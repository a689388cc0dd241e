"""Read the thumbnails of cards from the store, or make them of the images."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.landing.below_root import is_below
from airflow_provider_flux.media.rendition import RenditionError, make_rendition
from airflow_provider_flux.media.rendition_shape import RenditionShape
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.objects import read_hint

#: Most bytes of a thumbnail.
_MAX_THUMB_BYTES = 256 * 1024
#: Most bytes of an image of which a thumbnail is made.
_MAX_IMAGE_BYTES = 32 * 1024 * 1024
#: Thumbnails that are read beside each other, and images that are decoded beside each other.
_READS = 32
_DECODES = 2
_SHAPE = RenditionShape(width=320, height=320, format="webp")


def read_thumbs(cards: Iterable[Card], root: str) -> Iterator[tuple[Card, bytes | None]]:
    """Yield each card with its thumbnail, in order. Blocks: call it in a thread.

    An image without the rendition ``thumb`` is read and decoded.

    :param cards: the cards.
    :param root: folder with a slash at its end, whose store is open. The URIs of a card are data:
        nothing outside of this folder is read.
    :return: pairs of a card, and its thumbnail as webp, jpeg or png. It is ``None`` for a video
        without a thumbnail, and for what cannot be read or decoded.
    """
    remaining = iter(cards)
    while chunk := list(islice(remaining, _READS)):
        yield from zip(chunk, run_sync(_read_all(chunk, root)), strict=True)


async def _read_all(cards: list[Card], root: str) -> list[bytes | None]:
    decoding = asyncio.Semaphore(_DECODES)
    return await asyncio.gather(*(_read_thumb(card, root, decoding) for card in cards))


async def _read_thumb(card: Card, root: str, decoding: asyncio.Semaphore) -> bytes | None:
    if card.thumb and is_below(card.thumb, root):
        thumb = await _read(card.thumb, _MAX_THUMB_BYTES)
        if thumb:
            return thumb
    if not card.uri or card.is_video or not is_below(card.uri, root):
        return None
    async with decoding:
        image = await _read(card.uri, _MAX_IMAGE_BYTES)
        if not image:
            return None
        try:
            return await asyncio.to_thread(make_rendition, image, _SHAPE)
        except RenditionError:
            return None


async def _read(uri: str, max_bytes: int) -> bytes | None:
    try:
        return await read_hint(uri, max_bytes)
    except FluxStorageError:
        return None
