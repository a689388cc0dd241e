"""The cards of a manifest in a store: by its index, or without one by reading the manifest once."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxStorageError
from airflow_provider_flux.gallery.card import NO_ORIGIN, CardOrigin, card_of_row
from airflow_provider_flux.gallery.index_format import (
    INDEX_SUFFIX,
    MAX_CARDS,
    DamagedIndexError,
)
from airflow_provider_flux.gallery.index_writer import IndexWriter
from airflow_provider_flux.gallery.indexed_cards import IndexedCards, MatchCache, open_index
from airflow_provider_flux.landing.below_root import is_below
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.ranges import ObjectFacts, find_object, read_range

log = logging.getLogger(__name__)

#: Most bytes of a manifest without an index. A row has about 900 bytes.
MAX_MANIFEST_BYTES = 512 * 1024 * 1024
#: Most bytes of a Parquet manifest without an index, compressed and not: it is read in memory.
MAX_PARQUET_BYTES = 64 * 1024 * 1024
#: Most bytes of one row.
_MAX_ROW_BYTES = 1024 * 1024
_READ_BYTES = 1024 * 1024
#: Most bytes of indexes that are kept in memory for manifests without one.
_CACHED_BYTES = 32 * 1024 * 1024
#: What the reason why a manifest cannot be read counts among them.
_VERDICT_BYTES = 1024

#: Cards by filter, for all indexes that this process reads.
_MATCHES = MatchCache()


class UnreadableManifestError(FluxStorageError):
    """A manifest that is too large, or damaged: another try would find the same."""


@dataclass(frozen=True)
class PlainLimits:
    """Limits of a manifest without an index of its own, which is read whole.

    :param bytes: bytes of the largest one, 512 MiB by default.
    :param rows: most rows, 5 million by default.
    :param has_parquet: whether a Parquet manifest is read. A small one can name any size of its
        content, which nothing limits while it is read. Default ``True``.
    """

    bytes: int = MAX_MANIFEST_BYTES
    rows: int = MAX_CARDS
    has_parquet: bool = True


_DEFAULT_LIMITS = PlainLimits()


def index_uri(manifest: str) -> str:
    """Return the URI of the index of a manifest.

    :param manifest: URI of the manifest.
    """
    return f"{manifest}{INDEX_SUFFIX}"


def open_manifest_cards(
    manifest: str, origin: CardOrigin = NO_ORIGIN, limits: PlainLimits = _DEFAULT_LIMITS
) -> IndexedCards:
    """Return the cards of a manifest. Blocks: call it in a thread.

    With an index, this reads the size of the manifest and 64 KiB of the index. Without one, or if
    the index is of an earlier manifest, it reads the whole manifest once, and keeps an index of it
    in memory. A manifest does not have the prompts that an index has.

    :param manifest: URI of the manifest. Check it before: whoever knows it can read it.
    :param origin: task instance that wrote the manifest.
    :param limits: limits of a manifest without an index.
    :raises FluxConfigurationError: if the store cannot be opened.
    :raises FluxStorageError: if the manifest does not exist, cannot be read, or is too large.
    """
    open_path(manifest, field="manifest_path")
    facts, index = run_sync(_find_both(manifest))
    if facts is None:
        raise FluxStorageError(f"{manifest} does not exist.")
    if index is not None:
        cards = _open_stored_index(manifest, index, origin)
        if cards is not None and cards.manifest_bytes == facts.bytes:
            return cards
    return _open_without_index(manifest, facts, origin, limits)


async def _find_both(manifest: str) -> tuple[ObjectFacts | None, ObjectFacts | None]:
    index = index_uri(manifest)
    # A link in a local folder may lead to the index of another manifest.
    if not is_below(index, manifest[: manifest.rindex("/") + 1]):
        return await find_object(manifest), None
    return await asyncio.gather(find_object(manifest), find_object(index))


def _open_stored_index(
    manifest: str, index: ObjectFacts, origin: CardOrigin
) -> IndexedCards | None:
    uri = index_uri(manifest)

    def read(start: int, end: int) -> bytes:
        end = min(end, index.bytes)
        return run_sync(read_range(uri, start, end)) if start < end else b""

    try:
        return open_index(read, origin=origin, cache=_MATCHES, version=f"{uri} {index.version}")
    except DamagedIndexError as error:
        log.warning("%s is not used, because %s. Its manifest is read instead.", uri, error)
        return None


class BuiltIndexes:
    """The indexes of manifests without one, in memory. The oldest are dropped.

    :param max_bytes: bytes that are kept in all.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._indexes: OrderedDict[str, bytes | UnreadableManifestError] = OrderedDict()
        self._lock = Lock()
        self._building: dict[str, Lock] = {}

    def get(self, version: str, build: Callable[[], bytes]) -> bytes:
        """Return the index of a version of a manifest; one thread builds it.

        A store that hangs makes those wait that ask for the same manifest, and nobody else.

        :param version: text that identifies the manifest and its version.
        :param build: reads the manifest and returns its index.
        :raises UnreadableManifestError: also if an earlier build has found that.
        """
        with self._lock:
            turn = self._building.setdefault(version, Lock())
        with turn:
            index = self._find(version)
            if index is None:
                try:
                    index = _try(build)
                    self._keep(version, index)
                finally:
                    with self._lock:
                        self._building.pop(version, None)
        if isinstance(index, UnreadableManifestError):
            raise UnreadableManifestError(str(index))
        return index

    def _find(self, version: str) -> bytes | UnreadableManifestError | None:
        with self._lock:
            if version in self._indexes:
                self._indexes.move_to_end(version)
                self._building.pop(version, None)
            return self._indexes.get(version)

    def _keep(self, version: str, index: bytes | UnreadableManifestError) -> None:
        with self._lock:
            self._indexes[version] = index
            while len(self._indexes) > 1 and self._total() > self._max_bytes:
                self._indexes.popitem(last=False)

    def _total(self) -> int:
        sizes = (
            len(index) if isinstance(index, bytes) else _VERDICT_BYTES
            for index in self._indexes.values()
        )
        return sum(sizes)


def _try(build: Callable[[], bytes]) -> bytes | UnreadableManifestError:
    try:
        return build()
    except UnreadableManifestError as error:
        return error


_BUILT = BuiltIndexes(_CACHED_BYTES)


def _open_without_index(
    manifest: str, facts: ObjectFacts, origin: CardOrigin, limits: PlainLimits
) -> IndexedCards:
    version = f"{manifest} {facts.version} {limits}"
    data = _BUILT.get(version, partial(_build_index, manifest, facts, limits))
    return open_index(
        lambda start, end: data[start:end],
        origin=origin,
        cache=_MATCHES,
        version=version,
        has_prompts=False,
    )


def _build_index(manifest: str, facts: ObjectFacts, limits: PlainLimits) -> bytes:
    is_parquet = _is_parquet(manifest)
    if is_parquet and not limits.has_parquet:
        raise UnreadableManifestError(f"{manifest} has no index, and Parquet is not read here.")
    if facts.bytes > _max_bytes(manifest, limits):
        raise UnreadableManifestError(
            f"{manifest} has no index of its own, and is too large without one. Run its batch "
            "again with this version, which writes the index."
        )
    file = io.BytesIO()
    with IndexWriter() as writer:
        for card in map(card_of_row, _read_rows(manifest, facts, limits)):
            writer.add(card)
        writer.finish(file, manifest_bytes=facts.bytes)
    return file.getvalue()


def read_manifest_rows(manifest: str, limits: PlainLimits = _DEFAULT_LIMITS) -> Iterator[Any]:
    """Yield the rows of a manifest, any objects that JSON can hold. Blocks: call it in a thread.

    :param manifest: URI of the manifest, whose store must be open. Without an object there are no
        rows.
    :param limits: limits of the manifest.
    :raises UnreadableManifestError: if it is too large or damaged.
    :raises FluxConfigurationError: if it is Parquet, and pyarrow is not installed.
    :raises FluxStorageError: if the store does not answer.
    """
    facts = run_sync(find_object(manifest))
    if facts is None:
        return
    if facts.bytes > _max_bytes(manifest, limits):
        raise UnreadableManifestError(f"{manifest} is too large: it has {facts.bytes} bytes.")
    yield from _read_rows(manifest, facts, limits)


def _is_parquet(manifest: str) -> bool:
    return manifest.lower().endswith(".parquet")


def _max_bytes(manifest: str, limits: PlainLimits) -> int:
    return min(MAX_PARQUET_BYTES, limits.bytes) if _is_parquet(manifest) else limits.bytes


def _read_rows(manifest: str, facts: ObjectFacts, limits: PlainLimits) -> Iterator[Any]:
    read = _read_parquet_rows if _is_parquet(manifest) else _read_lines
    for count, row in enumerate(read(manifest, facts.bytes)):
        if count >= limits.rows:
            raise UnreadableManifestError(f"{manifest} has more than {limits.rows} rows.")
        yield row


def _read_lines(manifest: str, size: int) -> Iterator[Any]:
    """Yield the rows of a JSONL manifest. A line that is no row is an empty one."""
    rest = b""
    for start in range(0, size, _READ_BYTES):
        part = run_sync(read_range(manifest, start, min(start + _READ_BYTES, size)))
        *lines, rest = (rest + part).split(b"\n")
        yield from map(_parse_line, filter(None, lines))
        if len(rest) > _MAX_ROW_BYTES:
            raise UnreadableManifestError(
                f"{manifest} has a row of more than {_MAX_ROW_BYTES >> 20} MiB."
            )
    if rest:
        yield _parse_line(rest)


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return {"outcome": "damaged", "reason": "This row of the manifest is not JSON."}


def _read_parquet_rows(manifest: str, size: int) -> Iterator[Any]:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]
    except ImportError:
        raise FluxConfigurationError(
            f"{manifest} has no index, and pyarrow, which reads it, is not installed."
        ) from None
    data = run_sync(read_range(manifest, 0, size)) if size else b""
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        groups = range(file.metadata.num_row_groups)
        if sum(file.metadata.row_group(n).total_byte_size for n in groups) > 4 * MAX_PARQUET_BYTES:
            raise UnreadableManifestError(f"{manifest} is too large when it is decompressed.")
        for batch in file.iter_batches(1000):
            yield from batch.to_pylist()
    except FluxStorageError:
        raise
    except Exception as error:
        raise UnreadableManifestError(
            f"{manifest} is no Parquet file that can be read ({type(error).__name__})."
        ) from None
