"""A store of the rows of the previous manifest, in the database of a row store.

A manifest is data that a stranger may have written: a value of the wrong type counts as missing,
and an image elsewhere does not count.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from airflow_provider_flux.landing.below_root import is_below, is_spelled_below

#: Outcome of a row in the manifest that the input does not have any more.
GONE = "gone"
_WITH_IMAGE = frozenset({"landed", "reused", GONE})
#: Columns that the manifest keeps of a row that is gone. Its cost belongs to an earlier run.
_KEPT = (
    *("key", "uri", "sha256", "bytes", "width", "height", "content_type", "sidecar", "thumb"),
    *("renditions", "request_id", "model", "seed", "fingerprint", "submitted_at", "input"),
)
#: Those that name a file or describe it.
_FILES = (
    *("uri", "sha256", "bytes", "width", "height", "content_type", "sidecar", "thumb"),
    "renditions",
)
_ESSENTIAL = ("key", "uri", "sha256", "model")
_MAX_KEPT_CHARACTERS = 64 * 1024
_MAX_URI_CHARACTERS = 4096
_ROWS_PER_INSERT = 500
#: Rejected images of a row at most: as many as a row may be submitted.
_MAX_REJECTED = 21

_SCHEMA = """
CREATE TABLE previous (key TEXT PRIMARY KEY, uri TEXT NOT NULL, row TEXT NOT NULL);
CREATE TABLE previous_rejected (key TEXT PRIMARY KEY, count INTEGER NOT NULL, uris TEXT NOT NULL);
"""


class PreviousRows:
    """The rows of the previous manifest that have an image. It belongs to the thread of its store.

    :param db: database of the row store, which has a table ``rows``.
    :param root: folder of the images, with a slash at its end. An image elsewhere does not count.
    :param is_new: whether the database has no such rows yet, ``True`` by default.
    """

    def __init__(self, db: sqlite3.Connection, root: str, *, is_new: bool = True) -> None:
        self._db = db
        self._root = root
        if is_new:
            self._db.executescript(_SCHEMA)

    def add(self, rows: Iterable[Any]) -> None:
        """Store the rows of a manifest that have an image, and the rejected images of others.

        :param rows: rows as they were read; any objects that JSON can hold. Of two rows with one
            key the last counts.
        """
        with_image = (
            (row["key"], uri, _encode(row, uri, self._root))
            for row, uri in _find_images(self._note_rejected(rows))
            if is_spelled_below(uri, self._root)
        )
        while batch := list(islice(with_image, _ROWS_PER_INSERT)):
            self._db.executemany("INSERT OR REPLACE INTO previous VALUES (?, ?, ?)", batch)
        self._db.commit()

    def _note_rejected(self, rows: Iterable[Any]) -> Iterator[Any]:
        """Yield the rows, and store the rejected images of those that have no image."""
        for row in rows:
            if isinstance(row, Mapping) and isinstance(row.get("key"), str):
                count, uris = _find_rejected(row, self._root)
                if uris:
                    self._db.execute(
                        "INSERT OR REPLACE INTO previous_rejected VALUES (?, ?, ?)",
                        (row["key"], count, json.dumps(uris)),
                    )
            yield row

    def rejected_of(self, key: str) -> tuple[int, tuple[str, ...]]:
        """Return the number of attempts whose image was rejected, and the URIs of these images.

        :param key: key of the row.
        """
        found = self._db.execute(
            "SELECT count, uris FROM previous_rejected WHERE key = ?", (key,)
        ).fetchone()
        if found is None:
            return 0, ()
        uris = tuple(uri for uri in json.loads(found[1]) if is_below(uri, self._root))
        return found[0], uris

    def match(self) -> None:
        """Give each row of the input its previous image, and keep only the rows that are gone."""
        self._db.execute("CREATE INDEX rows_by_key ON rows (key)")
        self._db.execute(
            "UPDATE rows SET previous_uri = (SELECT uri FROM previous WHERE key = rows.key)"
        )
        self._db.execute("DELETE FROM previous WHERE key IN (SELECT key FROM rows)")
        elsewhere = [
            (key,)
            for key, uri in self._db.execute("SELECT key, uri FROM previous")
            if not is_below(uri, self._root)
        ]
        self._db.executemany("DELETE FROM previous WHERE key = ?", elsewhere)
        self._db.commit()

    def gone_rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows that are gone, by their keys, after :meth:`match`."""
        return read_gone_rows(self._db)

    def mark_deleted(self, key: str) -> None:
        """Keep a row that is gone for one more manifest, without its files, which were deleted.

        :param key: key of the row.
        """
        (text,) = self._db.execute("SELECT row FROM previous WHERE key = ?", (key,)).fetchone()
        row = json.loads(text) | dict.fromkeys(_FILES)
        self._db.execute("UPDATE previous SET row = ? WHERE key = ?", (json.dumps(row), key))
        self._db.commit()


def read_gone_rows(db: sqlite3.Connection) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of the previous manifest that the input does not have, by their keys.

    :param db: database of a row store.
    """
    for (text,) in db.execute("SELECT row FROM previous ORDER BY key"):
        yield json.loads(text)


def _find_images(rows: Iterable[Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each row that has an image, with the URI of the image.

    A row whose request changed, and that has no new image yet, still has the previous one.
    """
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        has_image = row.get("outcome") in _WITH_IMAGE
        uri = row.get("uri") if has_image else row.get("previous_uri")
        is_uri = isinstance(uri, str) and 0 < len(uri) <= _MAX_URI_CHARACTERS
        if is_uri and isinstance(row.get("key"), str):
            yield (row if has_image else {"key": row["key"], "model": row.get("model")}), str(uri)


def _find_rejected(row: Mapping[str, Any], root: str) -> tuple[int, list[str]]:
    """Return the rejected attempts of a row without an image, and where their images are."""
    uris, rerolls = row.get("rejected"), row.get("rerolls")
    if row.get("outcome") in _WITH_IMAGE or not isinstance(uris, list) or type(rerolls) is not int:
        return 0, []
    count = rerolls + (row.get("outcome") == "rejected")
    below = [
        uri
        for uri in uris[:_MAX_REJECTED]
        if isinstance(uri, str) and len(uri) < _MAX_URI_CHARACTERS and is_spelled_below(uri, root)
    ]
    return min(max(count, 0), _MAX_REJECTED), below


def _encode(row: Mapping[str, Any], uri: str, root: str) -> str:
    """Return what is kept of a row, without files elsewhere."""
    kept = {name: row.get(name) for name in _KEPT} | {"uri": uri}
    renditions = kept["renditions"]
    if isinstance(renditions, list):  # a map of Parquet
        renditions = _as_dict(renditions)
    files = renditions if isinstance(renditions, dict) else {}
    kept["renditions"] = {
        name: file for name, file in files.items() if is_spelled_below(str(file), root)
    } or None
    for name in ("sidecar", "thumb"):
        if not is_spelled_below(str(kept[name]), root):
            kept[name] = None
    text = json.dumps(kept, default=str)
    if len(text) > _MAX_KEPT_CHARACTERS:
        text = json.dumps({name: kept[name] for name in _ESSENTIAL}, default=str)
    return text


def _as_dict(pairs: list[Any]) -> dict[str, Any] | None:
    try:
        return dict(pairs)
    except (TypeError, ValueError):
        return None
