"""Find the cards below a folder: the rows of its manifests, and its other images by sidecars."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.gallery.card import Card, card_of_sidecar
from airflow_provider_flux.gallery.card_source import CardList
from airflow_provider_flux.gallery.index_format import INDEX_SUFFIX, DamagedIndexError
from airflow_provider_flux.gallery.manifest_cards import open_manifest_cards
from airflow_provider_flux.landing.below_root import is_below
from airflow_provider_flux.landing.companion_names import sidecar_uri
from airflow_provider_flux.landing.sidecar import MAX_SIDECAR_BYTES
from airflow_provider_flux.landing.suffixes import format_of_name
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import list_uris, read_hint

log = logging.getLogger(__name__)

_MANIFEST = re.compile(r"(?i)\.(?:jsonl|ndjson|parquet)\Z")
_DEFAULT_MANIFEST = re.compile(r"(?i)/manifest-[^/]*\.(?:jsonl|ndjson|parquet)\Z")
#: Folder of records and indexes, below which there are no images.
_OWN_FOLDER = "/_flux/"
#: Most cards that are found below a folder. They are in memory.
MAX_FOUND = 50_000
_READS = 64


@dataclass
class FoundCards:
    """The cards below a folder.

    :param cards: the cards.
    :param root: the folder, with a slash at its end.
    :param notices: sentences about what is missing.
    """

    cards: CardList
    root: str
    notices: list[str] = field(default_factory=list)


def find_cards(place: str) -> FoundCards:
    """Find the cards of a manifest, or below a folder.

    :param place: URI or absolute path of a manifest, or of a folder.
    :raises FluxConfigurationError: if the store cannot be opened.
    :raises FluxStorageError: if the place does not exist or cannot be read.
    """
    open_path(place, field="PREFIX")
    if _MANIFEST.search(place):
        root = place[: place.rindex("/") + 1]
        return FoundCards(CardList(_trusted(open_manifest_cards(place), root)), root)
    root = place if place.endswith("/") else f"{place}/"
    # A link in a local folder may lead out of it.
    names = [
        uri for uri in run_sync(list_uris(root)) if _OWN_FOLDER not in uri and is_below(uri, root)
    ]
    if not names:
        raise FluxStorageError(f"There is nothing below {root}.")
    return _find_below(root, sorted(names))


def _find_below(root: str, names: list[str]) -> FoundCards:
    notices: list[str] = []
    known = set(names)
    cards: list[Card] = []
    for manifest in names:
        has_index = f"{manifest}{INDEX_SUFFIX}" in known
        if _MANIFEST.search(manifest) and (has_index or _DEFAULT_MANIFEST.search(manifest)):
            cards += _cards_of_manifest(manifest, root, notices)
    listed = {uri for card in cards for uri in (card.uri, card.thumb) if uri}
    images = [uri for uri in names if format_of_name(uri) and uri not in listed]
    cards += _cards_of_images(images, known, root)
    if len(cards) > MAX_FOUND:
        notices.append(f"There are {len(cards)} rows and images. The first {MAX_FOUND} are here.")
    return FoundCards(CardList(cards[:MAX_FOUND]), root, notices)


def _cards_of_manifest(manifest: str, root: str, notices: list[str]) -> list[Card]:
    try:
        return _trusted(open_manifest_cards(manifest), root)
    except (FluxStorageError, FluxConfigurationError, DamagedIndexError) as error:
        notices.append(f"A manifest cannot be read: {error}")
        return []


def _cards_of_images(images: list[str], known: set[str], root: str) -> list[Card]:
    """Return the cards of images that no manifest names: by sidecar, or by the name alone.

    A rendition has no card of its own: the sidecar of its image names it, or its name is that of
    its image with an addition.
    """
    with_sidecar = [uri for uri in images if sidecar_uri(uri) in known]
    sidecars: list[dict[str, Any]] = []
    for start in range(0, len(with_sidecar), _READS):
        sidecars += run_sync(_read_sidecars(with_sidecar[start : start + _READS]))
    renditions = {uri for sidecar in sidecars for uri in _renditions_of(sidecar)}
    cards = [
        _card_of_image(uri, sidecar) for uri, sidecar in zip(with_sidecar, sidecars, strict=True)
    ]
    cards += [
        Card(key=uri.rpartition("/")[2], outcome="landed", uri=uri)
        for uri in images
        if sidecar_uri(uri) not in known and uri not in renditions and _image_of(uri) not in known
    ]
    cards.sort(key=lambda card: card.uri or "")
    return _trusted((replace(card, index=index) for index, card in enumerate(cards)), root)


def _image_of(rendition: str) -> str:
    """Return the name of the image of a rendition: ``hero.jpeg`` of ``hero.jpeg.thumb.webp``."""
    return rendition.rpartition(".")[0].rpartition(".")[0]


async def _read_sidecars(images: list[str]) -> list[dict[str, Any]]:
    return await asyncio.gather(*(_read_sidecar(sidecar_uri(image)) for image in images))


async def _read_sidecar(uri: str) -> dict[str, Any]:
    """Return the content of a sidecar; an empty one if it is none, or cannot be read."""
    try:
        content = json.loads(await read_hint(uri, MAX_SIDECAR_BYTES) or b"{}")
    except (FluxStorageError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _card_of_image(image: str, sidecar: dict[str, Any]) -> Card:
    """Return the card of an image that was listed, whatever its sidecar names."""
    card = card_of_sidecar(sidecar, uri=sidecar_uri(image), key=image.rpartition("/")[2])
    kind = card.content_type or f"{'video' if format_of_name(image) == 'mp4' else 'image'}/*"
    return replace(card, uri=image, content_type=kind)


def _renditions_of(sidecar: dict[str, Any]) -> Iterator[str]:
    media = sidecar.get("media")
    renditions = media.get("renditions") if isinstance(media, dict) else None
    for rendition in renditions.values() if isinstance(renditions, dict) else ():
        uri = rendition.get("uri") if isinstance(rendition, dict) else None
        if isinstance(uri, str):
            yield uri


def _trusted(cards: Iterable[Card], root: str) -> list[Card]:
    """Return cards without the URIs that are not below the folder in which they were found."""
    return [
        replace(
            card,
            uri=_below(card.uri, root),
            sidecar=_below(card.sidecar, root),
            thumb=_below(card.thumb, root),
        )
        for card in islice(cards, MAX_FOUND + 1)
    ]


def _below(uri: str | None, root: str) -> str | None:
    return uri if uri and is_below(uri, root) else None
