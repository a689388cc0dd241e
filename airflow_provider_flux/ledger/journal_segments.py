"""The segments of a journal: files of lines in an object store.

An object store cannot append. So each write puts the last segment again with all new lines, until
the segment is full and the next one begins.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.ledger.journal_check import JournalCheck, MissingPart
from airflow_provider_flux.ledger.journal_entries import (
    JournalEntry,
    SegmentHeader,
    encode_line,
    parse_segment,
)
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.objects import list_uris, read

#: End of the name of a journal's folder, after the stem of a task's records.
JOURNAL_SUFFIX = ".rows/"
#: Bytes at which a segment is full. Each write puts the whole segment, so it has to stay small.
SEGMENT_BYTES = 64 * 1024
#: Bytes of the largest segment that is read. A put may add many entries to one that is almost full.
MAX_SEGMENT_BYTES = 16 * 1024 * 1024

_SEGMENT_NAME = re.compile(r"-[0-9a-f]{16}\.rows/[0-9a-f]{32}\.[0-9]{6}\.jsonl$")
_SEGMENT_NUMBER = re.compile(r"\.([0-9]{6})\.jsonl$")
_MAX_CONCURRENT_READS = 16
#: Missing parts that an error names.
_MAX_NAMED_PARTS = 5


class SegmentBuffer:
    """The last segment of one writer, in memory.

    :param header: the first line of each segment.
    """

    def __init__(self, header: SegmentHeader) -> None:
        self._session = header.session
        #: The header as JSON values, since each put has it again.
        self._header = header.model_dump(mode="json")
        self._number = 0
        self._lines: list[bytes] = []

    def render(self, lines: Iterable[bytes]) -> list[tuple[str, bytes]]:
        """Return the name and the content of each object to put, in their order.

        That is the segment with further lines. If it is full then, an empty next one comes first:
        a full segment says that there is a next one.

        :param lines: the lines to add, from :func:`encode_line`.
        """
        content = [*self._lines, *lines]
        if not _is_full(content):
            return [self._render(self._number, content)]
        return [self._render(self._number + 1, []), self._render(self._number, content, True)]

    def _render(
        self, number: int, lines: Sequence[bytes], has_next: bool = False
    ) -> tuple[str, bytes]:
        header = {**self._header, "entries": len(lines), "has_next": has_next}
        name = f"{self._session}.{number:06d}.jsonl"
        return name, b"".join([encode_line(header), *lines])

    def mark_closed(self) -> None:
        """Say in the next segment that its writer has ended."""
        self._header["is_closed"] = True

    def mark_written(self, lines: Iterable[bytes]) -> None:
        """Keep lines that are stored, and begin the next segment if this one is full.

        :param lines: the lines of the last :meth:`render`.
        """
        self._lines += lines
        if _is_full(self._lines):
            self._number += 1
            self._lines.clear()


def journal_folders(uris: Iterable[str]) -> list[str]:
    """Return the folders of the journals to which URIs belong, each once.

    :param uris: any URIs. Those that are no segments are skipped.
    """
    segments = (uri for uri in uris if _SEGMENT_NAME.search(uri))
    return list(dict.fromkeys(uri[: uri.rindex("/") + 1] for uri in segments))


def read_journal(
    folder: str, *, clear_id: str | None = None
) -> Iterator[tuple[SegmentHeader, list[JournalEntry]]]:
    """Yield the segments of all tries, a few in memory at a time.

    :param folder: URI of the journal, with a slash at its end.
    :param clear_id: read the sessions of this clear only; ``None`` for all.
    :raises FluxLedgerError: if a segment cannot be read, or, after the last one, if a part of the
        journal is missing.
    :raises FluxStorageError: if the store fails.
    """
    check = JournalCheck()
    for uri, header, entries in _read_segments(folder):
        if clear_id is None or header.clear_id == clear_id:
            check.add(uri, _number_of(uri), header, len(entries))
            yield header, entries
    missing = [part for part in check.missing_parts() if clear_id in {None, part.clear_id}]
    if missing:
        raise describe_missing(folder, missing)


def inspect_journal(folder: str) -> JournalCheck:
    """Read all segments of a journal, and return what they say about each other.

    :param folder: URI of the journal, with a slash at its end.
    :raises FluxLedgerError: if a segment cannot be read.
    :raises FluxStorageError: if the store fails.
    """
    check = JournalCheck()
    for uri, header, entries in _read_segments(folder):
        check.add(uri, _number_of(uri), header, len(entries))
    return check


def without_orphans(
    segments: Iterable[tuple[SegmentHeader, list[JournalEntry]]],
) -> Iterator[tuple[SegmentHeader, list[JournalEntry]]]:
    """Yield segments without the entries whose intent is in none of them.

    ``airflow flux recover`` writes entries about submits of several clears into one segment.

    :param segments: header and entries of each segment.
    """
    kept = list(segments)
    claims = {entry.claim for _, entries in kept for entry in entries if entry.facts}
    for header, entries in kept:
        yield header, [entry for entry in entries if entry.claim in claims]


def sessions_in(folder: str) -> set[str]:
    """Return the ids of the sessions that have a segment, by the names of the segments.

    :param folder: URI of the journal, with a slash at its end.
    :raises FluxStorageError: if the store fails.
    """
    names = (uri.rpartition("/")[2] for uri in run_sync(list_uris(folder)))
    return {name.partition(".")[0] for name in names if name.endswith(".jsonl")}


def describe_missing(folder: str, missing: Sequence[MissingPart]) -> FluxLedgerError:
    """Return the error about a journal with missing parts.

    :param folder: URI of the journal, with a slash at its end.
    :param missing: the missing parts, at least one.
    """
    names = ", ".join(part.name for part in missing[:_MAX_NAMED_PARTS])
    more = len(missing) - _MAX_NAMED_PARTS
    return FluxLedgerError(
        f"The journal {folder} is incomplete: {names}{f' and {more} more' if more > 0 else ''} "
        f"{'is' if len(missing) == 1 else 'are'} missing. It may name images that BFL bills, so "
        "nothing is submitted. Restore it. To go on without it, set on_clear='new' and clear the "
        "task, or remove the folder: then all rows are submitted, and BFL may bill some of them "
        "twice."
    )


def _read_segments(folder: str) -> Iterator[tuple[str, SegmentHeader, list[JournalEntry]]]:
    uris = sorted(uri for uri in run_sync(list_uris(folder)) if uri.endswith(".jsonl"))
    for start in range(0, len(uris), _MAX_CONCURRENT_READS):
        batch = uris[start : start + _MAX_CONCURRENT_READS]
        for uri, data in zip(batch, run_sync(_read_all(batch)), strict=True):
            if data is None:
                raise FluxLedgerError(
                    f"The journal {uri} exists, but the credentials may not read it. Nothing is "
                    "submitted. Use credentials that may read as well as write."
                )
            yield uri, *parse_segment(data, uri)


async def _read_all(uris: list[str]) -> list[bytes | None]:
    return list(
        await asyncio.gather(*(read(uri, retry=True, max_bytes=MAX_SEGMENT_BYTES) for uri in uris))
    )


def _number_of(uri: str) -> int:
    match = _SEGMENT_NUMBER.search(uri)
    return int(match[1]) if match else 0


def _is_full(lines: Sequence[bytes]) -> bool:
    return sum(map(len, lines)) > SEGMENT_BYTES
