"""Write the index beside a manifest, one card at a time."""

from __future__ import annotations

import tempfile
from typing import IO

from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.filters import MAX_NAMES, Totals
from airflow_provider_flux.gallery.index_format import (
    BLOCK_CARDS,
    COLUMN_CARDS,
    Columns,
    IndexHeader,
    compress,
    encode_card,
    encode_columns,
    encode_header,
)

_COPY_BYTES = 1024 * 1024
#: Bytes of blocks that stay in memory. More are in a temporary file.
_MEMORY_BYTES = 8 * 1024 * 1024


class IndexWriter:
    """Writer of an index. Memory holds one block, and the columns of 10,000 cards.

    :param folder: local folder for a temporary file; that of the system by default.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._body: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY_BYTES, dir=folder)  # noqa: SIM115 - close()
        self._totals = Totals()
        self._lines: list[str] = []
        self._columns = _new_columns()
        self._outcomes: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._blocks: list[int] = []
        self._column_members: list[bytes] = []

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._body.close()

    def add(self, card: Card) -> None:
        """Add the next card.

        :param card: the card.
        """
        self._totals.add(card)
        self._lines.append(encode_card(card))
        columns = self._columns
        columns.outcome.append(_number(self._outcomes, card.outcome))
        columns.model.append(_number(self._models, card.model))
        columns.cost.append(card.cost)
        columns.bytes.append(max(card.bytes or 0, 0))
        columns.media.append(int(card.has_media))
        if len(self._lines) == BLOCK_CARDS:
            self._end_block()
        if len(columns.cost) == COLUMN_CARDS:
            self._end_columns()

    def finish(self, file: IO[bytes], *, manifest_bytes: int) -> None:
        """Write the index.

        :param file: open file to write to.
        :param manifest_bytes: size of the manifest. A reader takes the index for one of an
            earlier manifest if the size differs.
        """
        self._end_block()
        self._end_columns()
        header = IndexHeader(
            manifest_bytes=manifest_bytes,
            totals=self._totals,
            outcomes=tuple(self._outcomes),
            models=tuple(self._models),
            blocks=tuple(self._blocks),
            columns=tuple(map(len, self._column_members)),
        )
        file.write(encode_header(header))
        self._body.seek(0)
        while part := self._body.read(_COPY_BYTES):
            file.write(part)
        for member in self._column_members:
            file.write(member)

    def _end_block(self) -> None:
        if self._lines:
            member = compress(("\n".join(self._lines) + "\n").encode())
            self._body.write(member)
            self._blocks.append(len(member))
            self._lines = []

    def _end_columns(self) -> None:
        if self._columns.cost:
            self._column_members.append(encode_columns(self._columns))
            self._columns = _new_columns()


def _new_columns() -> Columns:
    return Columns([], [], [], [], [])


def _number(numbers: dict[str, int], name: str) -> int:
    """Return the number of a name, which stands for it in the columns.

    Names after the first 200 share -1: a filter looks for them in the blocks.
    """
    if name not in numbers and len(numbers) >= MAX_NAMES:
        return -1
    return numbers.setdefault(name, len(numbers))
