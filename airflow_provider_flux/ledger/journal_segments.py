"""The segments of a journal: files of lines in an object store.

An object store cannot append. So each write puts the last segment again with all new lines, until
the segment is full and the next one begins.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from airflow_provider_flux.bfl.errors import FluxLedgerError
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

_SEGMENT_NAME = re.compile(r"-[0-9a-f]{16}\.rows/[0-9a-f]{32}\.[0-9]{6}\.jsonl$")
_SEGMENT_NUMBER = re.compile(r"\.([0-9]{6})\.jsonl$")
_MAX_CONCURRENT_READS = 16


class SegmentBuffer:
    """The last segment of one writer, in memory.

    :param header: the first line of each segment.
    """

    def __init__(self, header: SegmentHeader) -> None:
        self.header = header
        self._number = 0
        self._lines: list[bytes] = []

    def render(self, lines: Iterable[bytes]) -> tuple[str, bytes]:
        """Return the name and the content of the segment with further lines.

        :param lines: the lines to add, from :func:`encode_line`.
        """
        name = f"{self.header.session}.{self._number:06d}.jsonl"
        header = encode_line(self.header.model_dump(mode="json"))
        return name, b"".join([header, *self._lines, *lines])

    def mark_written(self, lines: Iterable[bytes]) -> None:
        """Keep lines that are stored, and begin the next segment if this one is full.

        :param lines: the lines of the last :meth:`render`.
        """
        self._lines += lines
        if sum(map(len, self._lines)) > SEGMENT_BYTES:
            self._number += 1
            self._lines.clear()


def journal_folders(uris: Iterable[str]) -> list[str]:
    """Return the folders of the journals to which URIs belong, each once.

    :param uris: any URIs. Those that are no segments are skipped.
    """
    segments = (uri for uri in uris if _SEGMENT_NAME.search(uri))
    return list(dict.fromkeys(uri[: uri.rindex("/") + 1] for uri in segments))


def read_journal(folder: str) -> Iterator[tuple[SegmentHeader, list[JournalEntry]]]:
    """Yield the segments of all tries, a few in memory at a time.

    :param folder: URI of the journal, with a slash at its end.
    :raises FluxLedgerError: if a segment cannot be read, or is missing.
    :raises FluxStorageError: if the store fails.
    """
    uris = sorted(uri for uri in run_sync(list_uris(folder)) if uri.endswith(".jsonl"))
    _check_complete(uris)
    for start in range(0, len(uris), _MAX_CONCURRENT_READS):
        batch = uris[start : start + _MAX_CONCURRENT_READS]
        for uri, data in zip(batch, run_sync(_read_all(batch)), strict=True):
            if data is None:
                raise FluxLedgerError(
                    f"The journal {uri} exists, but the credentials may not read it. Nothing is "
                    "submitted. Use credentials that may read as well as write."
                )
            yield parse_segment(data, uri)


async def _read_all(uris: list[str]) -> list[bytes | None]:
    return list(await asyncio.gather(*(read(uri, retry=True) for uri in uris)))


def _check_complete(uris: Iterable[str]) -> None:
    """Refuse a journal with a gap: the segments of each writer are numbered from 0.

    :raises FluxLedgerError: if a segment is missing.
    """
    expected: Counter[str] = Counter()
    for uri in uris:
        match = _SEGMENT_NUMBER.search(uri)
        session = uri[: match.start()] if match else uri
        if match and int(match[1]) != expected[session]:
            raise FluxLedgerError(
                f"The segment {session}.{expected[session]:06d}.jsonl of a journal is missing. It "
                "may name images that BFL bills, so nothing is submitted. Restore it. Remove the "
                "other segments of that name only if you accept a possible second charge."
            )
        expected[session] += 1
