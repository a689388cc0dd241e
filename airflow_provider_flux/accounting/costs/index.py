"""The index of costs: a local SQLite file with a small row for each submit.

It is a cache. Everything in it is read from ledgers again if the file is lost. A reader never
shares it with whoever may write to a bucket.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from zlib import crc32

from airflow_provider_flux import __version__
from airflow_provider_flux.accounting.costs.ledger_parts import (
    IntentCost,
    ObjectParts,
    SubmitPart,
    merge_parts,
)
from airflow_provider_flux.accounting.submit_cost import (
    OUTCOMES,
    GenerationCost,
    cost_of_submit,
)
from airflow_provider_flux.ledger.record import PHASE_ORDER, Phase
from airflow_provider_flux.object_store.listing import ListedObject

#: Version of the tables, and of the package, which may read what an earlier one could not. A file
#: of another version is built anew.
SCHEMA_VERSION = crc32(f"2:{__version__}".encode()) & 0x7FFFFFFF
_TABLES = """
CREATE TABLE objects(
  id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, version TEXT NOT NULL, problem TEXT);
CREATE TABLE owners(
  id INTEGER PRIMARY KEY, dag TEXT, run TEXT, task TEXT, map_index INTEGER NOT NULL,
  identity TEXT NOT NULL UNIQUE);
CREATE TABLE places(
  id INTEGER PRIMARY KEY, ledger TEXT NOT NULL, owner INTEGER NOT NULL, UNIQUE(ledger, owner));
CREATE TABLE texts(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE parts(
  place INTEGER, claim BLOB, object INTEGER, phase INTEGER, at REAL, conn INTEGER,
  opened REAL, model INTEGER, estimate REAL, request BLOB, request_model INTEGER, credits REAL,
  reported INTEGER, priced INTEGER, result TEXT, error TEXT,
  PRIMARY KEY(place, claim, object)) WITHOUT ROWID;
CREATE INDEX parts_of_object ON parts(object);
CREATE TABLE charges(
  place INTEGER, claim BLOB, request BLOB, opened REAL, model INTEGER, conn INTEGER,
  phase INTEGER, outcome INTEGER, credits REAL, possible REAL, estimated INTEGER,
  unpriced INTEGER,
  PRIMARY KEY(place, claim)) WITHOUT ROWID;
"""
_TEMPORARY = """
CREATE TEMP TABLE IF NOT EXISTS seen(id INTEGER PRIMARY KEY);
CREATE TEMP TABLE IF NOT EXISTS dirty(place INTEGER, claim BLOB, PRIMARY KEY(place, claim))
  WITHOUT ROWID;
"""
_PHASES: tuple[Phase, ...] = tuple(sorted(PHASE_ORDER, key=PHASE_ORDER.__getitem__))
_PART_COLUMNS = 16
_CHARGE_COLUMNS = 12
#: Values of one statement. SQLite allows 999 in its oldest builds.
_MAX_VALUES = 900
#: Seconds to wait for another process that writes.
_BUSY_SECONDS = 30.0
_CACHED_TEXTS = 4096


@dataclass(frozen=True)
class ReadObject:
    """An object that was read.

    :param listed: the object, with the version that it had before it was read.
    :param ledger: the folder of its ledger.
    :param found: what it says; ``None`` if it cannot be read.
    :param problem: why it does not count; ``None`` if it does.
    """

    listed: ListedObject
    ledger: str
    found: ObjectParts | None
    problem: str | None = None


class CostIndex:
    """The index in one file, for one thread.

    :param path: the file. It is created if there is none.
    :raises sqlite3.Error: if the file is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # a cache: a lost file is built anew
        self._create_tables()
        self._db.executescript(_TEMPORARY)
        self._text_id = lru_cache(_CACHED_TEXTS)(self._find_text_id)
        self._text_of = lru_cache(_CACHED_TEXTS)(self._find_text)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for queries."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin_listing(self) -> None:
        """Forget which objects the last listing named."""
        self._db.execute("DELETE FROM seen")

    def find_changed(self, listed: Sequence[ListedObject]) -> list[ListedObject]:
        """Return the objects that are not in the index in their present version.

        :param listed: some objects of a listing. All count as listed from now on.
        """
        known: dict[str, str] = {}
        for start in range(0, len(listed), _MAX_VALUES):
            uris = [item.uri for item in listed[start : start + _MAX_VALUES]]
            marks = ",".join("?" * len(uris))
            rows = self._db.execute(
                f"SELECT id, uri, version FROM objects WHERE uri IN ({marks})",  # noqa: S608
                uris,
            ).fetchall()
            self._db.executemany(
                "INSERT OR IGNORE INTO seen VALUES (?)", ((row[0],) for row in rows)
            )
            known.update((uri, version) for _, uri, version in rows)
        return [item for item in listed if not item.version or known.get(item.uri) != item.version]

    def remove_unlisted(self, folder: str) -> int:
        """Remove the objects of a folder that the listing did not name, and return their number.

        :param folder: beginning of the URIs, with a slash at its end.
        """
        self._db.execute("BEGIN IMMEDIATE")
        gone = self._db.execute(
            "SELECT id FROM objects WHERE uri >= ? AND uri < ? AND id NOT IN (SELECT id FROM seen)",
            (folder, _after(folder)),
        ).fetchall()
        for (number,) in gone:
            self._remove_parts(number)
        self._db.executemany("DELETE FROM objects WHERE id = ?", gone)
        self._fold_dirty()
        self._db.execute("COMMIT")
        return len(gone)

    def replace(self, objects: Iterable[ReadObject]) -> None:
        """Put what objects say in the place of what their earlier versions said.

        :param objects: the objects. All of them are stored, or none.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for item in objects:
                number = self._store_object(item)
                if item.found is not None:
                    self._store_parts(number, item.ledger, item.found)
            self._fold_dirty()
        except BaseException:
            self._db.execute("ROLLBACK")
            self._text_id.cache_clear()
            self._text_of.cache_clear()
            raise
        self._db.execute("COMMIT")

    def problems(self, folder: str, limit: int) -> tuple[int, list[str]]:
        """Return the number of objects below a folder that do not count, and the first reasons.

        :param folder: beginning of the URIs, with a slash at its end.
        :param limit: number of reasons at most.
        """
        where = "FROM objects WHERE uri >= ? AND uri < ? AND problem IS NOT NULL"
        bounds = (folder, _after(folder))
        (count,) = self._db.execute(f"SELECT count(*) {where}", bounds).fetchone()
        rows = self._db.execute(
            f"SELECT problem {where} ORDER BY uri LIMIT ?",
            (*bounds, limit),
        )
        return count, [problem for (problem,) in rows]

    def _create_tables(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        if version:
            raise sqlite3.DatabaseError(f"the index has version {version}")
        self._db.execute("BEGIN IMMEDIATE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if not version:  # another process may have created them meanwhile
            for statement in filter(None, map(str.strip, _TABLES.split(";"))):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    def _store_object(self, item: ReadObject) -> int:
        uri, version = item.listed.uri, item.listed.version
        row = self._db.execute("SELECT id FROM objects WHERE uri = ?", (uri,)).fetchone()
        if row is not None:
            number = int(row[0])
            self._remove_parts(number)
            self._db.execute(
                "UPDATE objects SET version = ?, problem = ? WHERE id = ?",
                (version, item.problem, number),
            )
        else:
            cursor = self._db.execute(
                "INSERT INTO objects(uri, version, problem) VALUES (?, ?, ?)",
                (uri, version, item.problem),
            )
            number = int(cursor.lastrowid or 0)
        self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,))
        return number

    def _remove_parts(self, number: int) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO dirty SELECT place, claim FROM parts WHERE object = ?", (number,)
        )
        self._db.execute("DELETE FROM parts WHERE object = ?", (number,))

    def _store_parts(self, number: int, ledger: str, found: ObjectParts) -> None:
        place = self._find_place(ledger, found)
        rows = [self._as_row(place, number, part) for part in found.parts]
        marks = ",".join("?" * _PART_COLUMNS)
        self._db.executemany(f"INSERT INTO parts VALUES ({marks})", rows)  # noqa: S608
        self._db.executemany(
            "INSERT OR IGNORE INTO dirty VALUES (?, ?)", ((place, row[1]) for row in rows)
        )

    def _find_place(self, ledger: str, found: ObjectParts) -> int:
        owner = found.owner
        ids = (owner.dag_id, owner.run_id, owner.task_id, owner.map_index)
        identity = json.dumps(ids)
        self._db.execute(
            "INSERT OR IGNORE INTO owners(dag, run, task, map_index, identity) "
            "VALUES (?, ?, ?, ?, ?)",
            (*ids, identity),
        )
        self._db.execute(
            "INSERT OR IGNORE INTO places(ledger, owner) "
            "SELECT ?, id FROM owners WHERE identity = ?",
            (ledger, identity),
        )
        (place,) = self._db.execute(
            "SELECT p.id FROM places p JOIN owners o ON o.id = p.owner "
            "WHERE o.identity = ? AND p.ledger = ?",
            (identity, ledger),
        ).fetchone()
        return int(place)

    def _as_row(self, place: int, number: int, part: SubmitPart) -> tuple[object, ...]:
        intent, generation = part.intent, part.generation
        return (
            *(place, part.claim, number, PHASE_ORDER[part.phase], part.at),
            self._text_id(part.flux_conn_id),
            intent.opened_at if intent else None,
            self._text_id(intent.model) if intent else None,
            intent.estimate if intent else None,
            generation.request if generation else None,
            self._text_id(generation.model) if generation else None,
            generation.credits if generation else None,
            generation.is_reported if generation else None,
            generation.is_priced if generation else None,
            generation.result if generation else None,
            part.error,
        )

    def _fold_dirty(self) -> None:
        """Fold the parts of each submit that has changed into its charge."""
        self._db.execute(
            "DELETE FROM charges WHERE (place, claim) IN (SELECT place, claim FROM dirty)"
        )
        rows = self._db.execute(
            "SELECT p.* FROM dirty d JOIN parts p ON p.place = d.place AND p.claim = d.claim "
            "ORDER BY d.place, d.claim"
        )
        marks = ",".join("?" * _CHARGE_COLUMNS)
        self._db.executemany(
            f"INSERT INTO charges VALUES ({marks})",  # noqa: S608
            [self._as_cost(place, part) for place, part in self._merge(rows)],
        )
        self._db.execute("DELETE FROM dirty")

    def _merge(self, rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, SubmitPart]]:
        for (place, _), group in groupby(rows, key=itemgetter(0, 1)):
            yield place, reduce(merge_parts, map(self._as_part, group))

    def _as_part(self, row: Sequence[Any]) -> SubmitPart:
        _, claim, _, phase, at, conn, opened, model, estimate, *rest = row
        request, request_model, credits_, reported, priced, result, error = rest
        intent = generation = None
        if opened is not None:
            intent = IntentCost(opened, self._text_of(model), estimate)
        if request is not None:
            generation = GenerationCost(
                request,
                self._text_of(request_model),
                credits_,
                bool(reported),
                bool(priced),
                result,
            )
        name = _PHASES[phase]
        return SubmitPart(claim, at, name, self._text_of(conn), intent, generation, error)

    def _as_cost(self, place: int, part: SubmitPart) -> tuple[object, ...]:
        intent, generation = part.intent, part.generation
        estimate = intent.estimate if intent else None
        cost = cost_of_submit(part.phase, part.error, generation, estimate)
        return (
            *(place, part.claim, generation.request if generation else part.claim),
            intent.opened_at if intent else part.at,  # a missing segment holds the intent
            self._text_id(generation.model if generation else intent.model if intent else ""),
            self._text_id(part.flux_conn_id),
            PHASE_ORDER[part.phase],
            OUTCOMES.index(cost.outcome),
            *(cost.credits, cost.possible, cost.is_estimated, cost.is_unpriced),
        )

    def _find_text_id(self, text: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO texts(text) VALUES (?)", (text,))
        (number,) = self._db.execute("SELECT id FROM texts WHERE text = ?", (text,)).fetchone()
        return int(number)

    def _find_text(self, number: object) -> str:
        (text,) = self._db.execute("SELECT text FROM texts WHERE id = ?", (number,)).fetchone()
        return str(text)


def _after(folder: str) -> str:
    """Return the end of the range of all texts that begin with a folder."""
    return folder[:-1] + "0"  # the character after the slash
