"""A store of the journal entries of earlier tries, by row, in the database of a row store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from airflow_provider_flux.ledger.journal_entries import JournalEntry, SegmentHeader
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit, fold_entries

_SCHEMA = "CREATE TABLE entries (key TEXT NOT NULL, segment INTEGER NOT NULL, entry TEXT NOT NULL)"


class HistoryStore:
    """The entries of the journal, by row. It belongs to the thread of its row store.

    :param db: database of the row store, which has a table ``rows`` with the keys of the input.
    :param root: folder of the images, with a slash at its end. An image that the journal names
        elsewhere does not count as landed.
    """

    def __init__(self, db: sqlite3.Connection, root: str) -> None:
        self._db = db
        self._root = root
        self._db.execute(_SCHEMA)
        self._headers: list[SegmentHeader] = []

    def add_segment(self, header: SegmentHeader, entries: Sequence[JournalEntry]) -> None:
        """Store one segment of the journal.

        :param header: header of the segment.
        :param entries: its entries, in their order.
        """
        number = len(self._headers)
        self._headers.append(header)
        lines = [(entry.key, number, entry.model_dump_json(exclude_none=True)) for entry in entries]
        self._db.executemany("INSERT INTO entries (key, segment, entry) VALUES (?, ?, ?)", lines)
        self._db.commit()

    def create_index(self) -> bool:
        """Index the entries by row, once all are stored, and return whether there are any."""
        self._db.execute("CREATE INDEX entries_by_key ON entries (key)")
        return self._db.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is not None

    def submits_of(self, key: str) -> list[JournaledSubmit]:
        """Return the submits of a row in earlier tries, in the order in which they were made.

        :param key: key of the row.
        :raises FluxLedgerError: if a part of the journal is missing.
        """
        entries = self._db.execute(
            "SELECT segment, entry FROM entries WHERE key = ? ORDER BY rowid", (key,)
        )
        submits = list(
            fold_entries(
                (self._headers[number], [JournalEntry.model_validate_json(text)])
                for number, text in entries
            )
        )
        for submit in submits:
            submit.distrust_media_outside(self._root)
        return submits

    def all_submits(self) -> Iterator[JournaledSubmit]:
        """Yield all submits of the journal, row by row.

        :raises FluxLedgerError: if a part of the journal is missing.
        """
        for (key,) in self._db.execute("SELECT DISTINCT key FROM entries").fetchall():
            yield from self.submits_of(key)

    def find_recovered(self) -> list[JournaledSubmit]:
        """Return the submits whose images ``airflow flux recover`` has landed since the last try.

        Once a try has read them, the command need not list them any more.

        :raises FluxLedgerError: if a part of the journal is missing.
        """
        keys = self._db.execute(
            """SELECT DISTINCT key FROM entries WHERE entry LIKE '%"phase":"persisted"%'"""
        ).fetchall()
        return [
            submit
            for (key,) in keys
            for submit in self.submits_of(key)
            if submit.phase == "persisted"
        ]

    def gone_rows(self) -> Iterator[list[JournaledSubmit]]:
        """Yield the submits of each row that the input has no more, or that is not valid any more.

        Call it before a plan is stored.

        :raises FluxLedgerError: if a part of the journal is missing.
        """
        keys = self._db.execute(
            "SELECT DISTINCT key FROM entries "
            "WHERE key NOT IN (SELECT key FROM rows WHERE outcome IS NULL)"
        ).fetchall()
        for (key,) in keys:
            yield self.submits_of(key)
