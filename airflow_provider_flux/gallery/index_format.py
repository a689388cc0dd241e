"""The format of the index beside a manifest, ``<manifest>.index``.

The index is a gzip file of several members, so that ``zcat`` prints all of it. The first member is
the header, one line of JSON: the number of cards, their totals, and the length of each other
member. A member with cards, a block, has 100 lines, each an array of the fields that the header
names. A member with columns has outcome, model, cost, size and presence of a file of the next
10,000 cards, by which most filters choose cards without a look into the blocks.

A page of cards thus needs the header and one block, which is one read at the beginning of the file.
Whoever may write to the bucket can write an index: all counts and lengths are checked, and nothing
is decompressed beyond a limit.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import dataclass, fields
from itertools import accumulate
from operator import attrgetter
from typing import Any

from airflow_provider_flux.bfl.responses import read_number
from airflow_provider_flux.gallery.card import (
    MAX_NAME_CHARACTERS,
    NO_ORIGIN,
    Card,
    CardOrigin,
    card_of_row,
)
from airflow_provider_flux.gallery.filters import MAX_NAMES, Totals, count_name

#: End of the name of an index, after the whole name of its manifest.
INDEX_SUFFIX = ".index"
VERSION = 1
#: Cards of one block.
BLOCK_CARDS = 100
#: Cards of one member with columns.
COLUMN_CARDS = 10_000
#: Bytes of the first read: the header, and usually the first block.
FIRST_READ_BYTES = 64 * 1024
#: Most cards of an index that is read.
MAX_CARDS = 5_000_000
#: Most bytes of the header, compressed and not.
MAX_HEADER_BYTES = 2 * 1024 * 1024
#: Most bytes of any other member, not compressed. Cards of the longest texts need this.
MAX_MEMBER_BYTES = 16 * 1024 * 1024
#: Most bytes of a member with columns, not compressed. It has 10,000 times five numbers. JSON takes
#: up to thirty times as much memory when it is parsed.
MAX_COLUMN_BYTES = 1024 * 1024
#: Most bytes of the line of a card: the longest texts, with each character escaped.
_MAX_LINE_BYTES = 256 * 1024
#: The fields of a card, in the order of a line.
CARD_FIELDS = (
    *("index", "key", "outcome", "reason", "model", "prompt", "seed", "cost", "width", "height"),
    *("bytes", "sha256", "content_type", "seconds", "submitted_at", "request_id"),
    *("uri", "sidecar", "thumb"),
)
_card_values = attrgetter(*CARD_FIELDS)
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
#: A byte of gzip stands for at most about 1032 bytes; a member has at least 20.
_MIN_MEMBER_BYTES = 20


class DamagedIndexError(ValueError):
    """An index that is cut, of another version, or not an index."""


@dataclass(frozen=True)
class IndexHeader:
    """The header of an index.

    :param manifest_bytes: size of the manifest to which the index belongs.
    :param totals: totals of all cards.
    :param outcomes: outcomes by their number in the columns.
    :param models: models by their number in the columns.
    :param blocks: length of each block in the file.
    :param columns: length of each member with columns, which follow the blocks.
    """

    manifest_bytes: int
    totals: Totals
    outcomes: tuple[str, ...]
    models: tuple[str, ...]
    blocks: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def offsets(self) -> list[int]:
        """Offsets of blocks and columns, and of the end, from the end of the header."""
        return list(accumulate((*self.blocks, *self.columns), initial=0))


@dataclass(frozen=True)
class Columns:
    """The facts of some cards, each as a list in the order of the cards.

    :param outcome: numbers of the outcomes; -1 for one that the header does not name.
    :param model: numbers of the models; -1 for one that the header does not name.
    :param cost: costs in credits; ``None`` for an unknown cost.
    :param bytes: sizes of the files.
    :param media: 1 for a card with an image or a video, else 0.
    """

    outcome: list[int]
    model: list[int]
    cost: list[float | None]
    bytes: list[int]
    media: list[int]


_COLUMN_NAMES = tuple(field.name for field in fields(Columns))


def encode_header(header: IndexHeader) -> bytes:
    """Return the member with the header.

    :param header: the header.
    """
    totals = header.totals
    content = {
        "flux_index": VERSION,
        "manifest_bytes": header.manifest_bytes,
        "fields": CARD_FIELDS,
        "cards": totals.cards,
        "images": totals.images,
        "credits": round(totals.credits, 6),
        "bytes": totals.bytes,
        "outcome_counts": dict(totals.outcomes),
        "model_counts": dict(totals.models),
        "outcomes": header.outcomes,
        "models": header.models,
        "blocks": header.blocks,
        "columns": header.columns,
    }
    return compress(json.dumps(content, separators=(",", ":")).encode() + b"\n")


def decode_header(data: bytes) -> tuple[IndexHeader, int] | None:
    """Parse the header at the beginning of an index.

    :param data: the beginning of the file.
    :return: the header and its length in the file; ``None`` if more bytes are needed.
    :raises DamagedIndexError: if this is no index, or one of another version.
    """
    text, length = _decompress(data, MAX_HEADER_BYTES)
    if length is None:
        if len(data) >= MAX_HEADER_BYTES:
            raise DamagedIndexError("its header is too long")
        return None
    return _parse_header(_load_json(text)), length


def encode_card(card: Card) -> str:
    """Return the line of a card in a block.

    :param card: the card.
    """
    return _ENCODER.encode(_card_values(card))


def decode_block(member: bytes, origin: CardOrigin = NO_ORIGIN) -> list[Card]:
    """Return the cards of a block.

    :param member: the block as it is in the file.
    :param origin: task instance that wrote the manifest.
    :raises DamagedIndexError: if it is cut, too large, or has another number of fields.
    """
    cards = []
    lines = decompress(member).split(b"\n", BLOCK_CARDS + 1)
    if len(lines) > BLOCK_CARDS + 1:
        raise DamagedIndexError("a block has too many cards")
    for line in filter(None, lines):
        if len(line) > _MAX_LINE_BYTES:
            raise DamagedIndexError("a card is too large")
        values = _load_json(line)
        if not isinstance(values, list) or len(values) != len(CARD_FIELDS):
            raise DamagedIndexError("a card has other fields")
        cards.append(card_of_row(dict(zip(CARD_FIELDS, values, strict=True)), origin))
    return cards


def encode_columns(columns: Columns) -> bytes:
    """Return a member with columns.

    :param columns: the columns.
    """
    # asdict() would copy each of the values.
    content = {name: getattr(columns, name) for name in _COLUMN_NAMES}
    return compress(_ENCODER.encode(content).encode() + b"\n")


def decode_columns(member: bytes, count: int, header: IndexHeader) -> Columns:
    """Return the columns of a member.

    :param member: the member as it is in the file.
    :param count: number of cards that it must have.
    :param header: header of the index.
    :raises DamagedIndexError: if it is cut, too large, or has other columns or values.
    """
    content = _load_json(decompress(member, MAX_COLUMN_BYTES))
    lists: list[Any] = [
        content.get(name) if isinstance(content, dict) else None for name in _COLUMN_NAMES
    ]
    if not all(isinstance(values, list) and len(values) == count for values in lists):
        raise DamagedIndexError("its columns have other lengths")
    outcome, model, cost, sizes, media = lists
    return Columns(
        outcome=_check_integers(outcome, -1, len(header.outcomes) - 1),
        model=_check_integers(model, -1, len(header.models) - 1),
        cost=[read_number(value) for value in cost],
        bytes=_check_integers(sizes, 0, 2**63 - 1),
        media=_check_integers(media, 0, 1),
    )


def compress(data: bytes) -> bytes:
    """Return data as one gzip member, without a time, so that equal data is equal.

    :param data: the data.
    """
    compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(data) + compressor.flush()


def decompress(member: bytes, max_bytes: int = MAX_MEMBER_BYTES) -> bytes:
    """Return the content of one gzip member.

    :param member: the whole member.
    :param max_bytes: most bytes of the content, 16 MiB by default.
    :raises DamagedIndexError: if it is cut, too large, or not gzip.
    """
    data, length = _decompress(member, max_bytes)
    if length is None:
        raise DamagedIndexError("it is cut")
    return data


def _decompress(data: bytes, max_bytes: int) -> tuple[bytes, int | None]:
    """Return the content of the first member, and its length unless it is cut."""
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = decompressor.decompress(data, max_bytes)
    except zlib.error:
        raise DamagedIndexError("it is not gzip") from None
    if decompressor.eof:
        return content, len(data) - len(decompressor.unused_data)
    if len(content) >= max_bytes:
        raise DamagedIndexError("a part of it is too large")
    return content, None


def _load_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DamagedIndexError("it is not JSON") from None


def _parse_header(content: Any) -> IndexHeader:
    if not isinstance(content, dict) or content.get("flux_index") != VERSION:
        raise DamagedIndexError("it has another version")
    if content.get("fields") != list(CARD_FIELDS):
        raise DamagedIndexError("it has other fields")
    facts = card_of_row({"cost": content.get("credits"), "bytes": content.get("bytes")})
    count = _count(content.get("cards"), MAX_CARDS)
    totals = Totals(
        cards=count,
        images=_count(content.get("images"), count),
        credits=facts.cost or 0.0,
        bytes=max(facts.bytes or 0, 0),
        outcomes=_counter(content.get("outcome_counts"), count),
        models=_counter(content.get("model_counts"), count),
    )
    header = IndexHeader(
        manifest_bytes=_count(content.get("manifest_bytes"), 2**53),
        totals=totals,
        outcomes=_names(content.get("outcomes")),
        models=_names(content.get("models")),
        blocks=_lengths(content.get("blocks")),
        columns=_lengths(content.get("columns")),
    )
    expected = -(-count // BLOCK_CARDS), -(-count // COLUMN_CARDS)
    if (len(header.blocks), len(header.columns)) != expected:
        raise DamagedIndexError("it has another number of parts")
    return header


def _count(value: Any, largest: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest:
        return value
    raise DamagedIndexError("a count is wrong")


def _check_integers(values: Any, smallest: int, largest: int) -> list[int]:
    if all(type(value) is int and smallest <= value <= largest for value in values):
        return list(values)
    raise DamagedIndexError("a column has a wrong value")


def _counter(value: Any, largest: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, count in (value if isinstance(value, dict) else {}).items():
        count_name(counts, name[:MAX_NAME_CHARACTERS], _count(count, largest))
    return counts


def _names(value: Any) -> tuple[str, ...]:
    is_valid = isinstance(value, list) and len(value) <= MAX_NAMES
    if is_valid and all(isinstance(name, str) for name in value):
        return tuple(name[:MAX_NAME_CHARACTERS] for name in value)
    raise DamagedIndexError("its names are wrong")


def _lengths(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise DamagedIndexError("its lengths are wrong")
    lengths = tuple(_count(length, MAX_MEMBER_BYTES) for length in value)
    if any(length < _MIN_MEMBER_BYTES for length in lengths):
        raise DamagedIndexError("its lengths are wrong")
    return lengths
