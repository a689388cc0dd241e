"""Cards as a batch has them, for tests and benchmarks of the gallery."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator

from airflow_provider_flux.gallery.card import NO_ORIGIN, Card, CardOrigin
from airflow_provider_flux.gallery.index_writer import IndexWriter

_WORDS = [
    "a",
    "red",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "under",
    "neon",
    "light",
    "in",
    "the",
    "rain",
    "of",
    "tokyo",
]
_MODELS = ("flux-pro-1.1", "flux-2-pro")


def batch_cards(count: int, *, origin: CardOrigin = NO_ORIGIN, seed: int = 1) -> Iterator[Card]:
    """Yield cards of a batch: 3 of 100 are moderated, and the others have an image.

    :param count: number of cards.
    :param origin: task instance of the cards.
    :param seed: seed of the random values.
    """
    chance = random.Random(seed)
    for index in range(count):
        key = f"sku-{index:06}"
        is_landed = index % 100 not in {7, 50, 93}
        uri = f"s3://my_s3@bucket/shop/{key}.jpeg"
        yield Card(
            index=index,
            key=key,
            outcome="landed" if is_landed else "moderated",
            reason=None if is_landed else "Request Moderated: Violence",
            model=chance.choice(_MODELS),
            prompt=f"{index}: {' '.join(chance.choices(_WORDS, k=30))}",
            seed=chance.randrange(2**32),
            cost=chance.choice((4.0, 5.5)) if is_landed else 0.0,
            width=1024 if is_landed else None,
            height=768 if is_landed else None,
            bytes=chance.randrange(10**6) if is_landed else None,
            sha256=f"{chance.getrandbits(256):064x}" if is_landed else None,
            content_type="image/jpeg" if is_landed else None,
            seconds=round(chance.uniform(2, 9), 3),
            submitted_at="2026-11-29T15:00:00+00:00",
            request_id=f"{chance.getrandbits(128):032x}",
            uri=uri if is_landed else None,
            sidecar=f"{uri}.json" if is_landed else None,
            thumb=f"{uri}.thumb.webp" if is_landed else None,
            origin=origin,
        )


def encode_index(cards: Iterable[Card], manifest_bytes: int = 1000) -> bytes:
    """Return the index of some cards.

    :param cards: the cards.
    :param manifest_bytes: size of the manifest that it names.
    """
    file = io.BytesIO()
    with IndexWriter() as writer:
        for card in cards:
            writer.add(card)
        writer.finish(file, manifest_bytes=manifest_bytes)
    return file.getvalue()


class RangeReads:
    """A file in memory whose reads are recorded.

    :param data: content of the file.
    :ivar reads: start and end of each read, within the file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> bytes:
        """Return the bytes of a range."""
        self.reads.append((start, min(end, len(self.data))))
        return self.data[start:end]

    @property
    def bytes_read(self) -> int:
        """Number of bytes that were read."""
        return sum(end - start for start, end in self.reads)
