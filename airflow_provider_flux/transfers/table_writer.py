"""Write rows into a table of any DB-API driver, so that a second run changes nothing.

Each batch of rows is compared with the table first. Then changed rows are updated and missing ones
inserted. An upsert of a database would not do: ``REPLACE`` of SQLite and MySQL empties the columns
that it does not name, ``ON CONFLICT`` of PostgreSQL refuses rows without the other columns that are
NOT NULL, and both write rows that are equal.

Names of tables and columns come from the author of the DAG and are checked. Values are bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any, TypeAlias

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact_line
from airflow_provider_flux.transfers.manifest_values import SqlValue, TableRow
from airflow_provider_flux.transfers.table_columns import OnGone, OnMissing, TableColumns

#: The keys of a row, as text or as exact numbers.
Identity: TypeAlias = tuple[str | Decimal, ...]

#: Rows that are compared with the table at a time.
_BATCH_ROWS = 500
#: Values that one statement may bind in every database, for example in old versions of SQLite.
_MAX_PARAMETERS = 900
_NUMBERS = (int, float, Decimal)
_INTEGER_TYPE = re.compile(r"(?i)(tiny|small|medium|big)?int(eger)?\d*")
_INTEGER = re.compile(r"-?[0-9]{1,100}")
_MAX_SHOWN_CHARACTERS = 80


@dataclass
class WriteCounts:
    """Numbers of rows by what became of them.

    :ivar inserted: rows that the table did not have.
    :ivar updated: rows of which a value changed.
    :ivar unchanged: rows that were equal already.
    :ivar skipped: rows that the table does not have, with ``on_missing="skip"``.
    :ivar gone: rows of the table that were emptied or deleted, because the input lost them.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    gone: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


class TableWriter:
    """Writer of one table in one transaction, which the caller commits.

    :param cursor: cursor of an open connection.
    :param placeholder: placeholder of the driver, ``%s`` or ``?``.
    :param table: name of the table, checked.
    :param columns: the columns, checked.
    :param on_missing: action for rows that the table does not have.
    :param on_gone: action for rows that are gone.
    """

    def __init__(
        self,
        cursor: Any,
        placeholder: str,
        table: str,
        columns: TableColumns,
        *,
        on_missing: OnMissing = "insert",
        on_gone: OnGone = "keep",
    ) -> None:
        self._cursor = cursor
        self._columns = columns
        self._key_count = len(columns.keys)
        self._is_kept = on_gone == "keep"
        self._inserts = on_missing == "insert"
        self._build_statements(placeholder, table, on_gone)
        self._key_types: list[type] = [str] * self._key_count
        self._has_numbers = [False] * self._key_count
        #: Keys of the rows that were written. They stay if the same key is gone in another case.
        self._written: set[Identity] = set()
        self.counts = WriteCounts()

    def _build_statements(self, placeholder: str, table: str, on_gone: OnGone) -> None:
        names, keys = self._columns.names, self._columns.keys
        has_key = " AND ".join(f"{name} = {placeholder}" for name in keys)
        others = ", ".join(f"{name} = {placeholder}" for name in names[self._key_count :])
        marks = ", ".join([placeholder] * len(names))
        # All names were checked by table_columns, and all values are bound.
        self._select = f"SELECT {', '.join(names)} FROM {table} WHERE "  # noqa: S608
        self._has_key, self._placeholder = has_key, placeholder
        self._update = f"UPDATE {table} SET {others} WHERE {has_key}"  # noqa: S608
        self._insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
        if on_gone == "delete":
            self._lose = f"DELETE FROM {table} WHERE {has_key}"  # noqa: S608
        else:
            emptied = ", ".join(f"{name} = NULL" for name in self._columns.of_images)
            self._lose = f"UPDATE {table} SET {emptied} WHERE {has_key}"  # noqa: S608
        self._deletes = on_gone == "delete"
        self._count = f"SELECT COUNT(*) FROM {table}"  # noqa: S608

    def check_table(self) -> None:
        """Ask the database for the columns, before anything is written.

        :raises Exception: the error of the driver, if it does not have the table or a column.
        """
        self._cursor.execute(f"{self._select}1 = 0")
        self._cursor.fetchall()
        for position, column in enumerate((self._cursor.description or ())[: self._key_count]):
            is_named = isinstance(column[1], str) and _INTEGER_TYPE.fullmatch(column[1])
            if is_named:  # Trino and BigQuery compare a number with no text
                self._key_types[position] = int

    def write_all(self, rows: Iterable[TableRow]) -> None:
        """Write rows, in batches.

        :param rows: the rows. No two have one key.
        :raises FluxRequestError: if two rows have one key by the rules of the table.
        :raises Exception: the error of the driver.
        """
        size = min(_BATCH_ROWS, _MAX_PARAMETERS // self._key_count)
        iterator = iter(rows)
        while batch := list(islice(iterator, size)):
            self._write_batch(batch)

    def check_gone(self, max_share: float) -> None:
        """Check before the commit how many rows of the table were emptied or deleted.

        :param max_share: share of the rows of the table that may be, from 0 to 1.
        :raises FluxRequestError: if more were.
        """
        gone = self.counts.gone
        if not gone:
            return
        self._cursor.execute(self._count)
        total = int(self._cursor.fetchall()[0][0]) + (gone if self._deletes else 0)
        if gone > max_share * total:
            raise FluxRequestError(
                f"on_gone={'delete' if self._deletes else 'null'!r} would change {gone} of {total} "
                f"rows ({gone / total:.0%}), and {max_share:.0%} may be at once. Nothing was "
                "written. Check the input of the batch. If it is right, raise the option [flux] "
                "max_prune_share for one run, for example by AIRFLOW__FLUX__MAX_PRUNE_SHARE=1"
            )

    def _write_batch(self, rows: Sequence[TableRow]) -> None:
        existing = self._find([row.values for row in rows])
        pairs = [(row, existing.find(self._identity(row.values))) for row in rows]
        self._write_rows([(row.values, found) for row, found in pairs if row.action == "write"])
        self._lose_rows([found for row, found in pairs if row.action == "gone"])

    def _write_rows(self, rows: Sequence[tuple[list[SqlValue], list[list[Any]]]]) -> None:
        """Update the rows of the table that differ, and insert those that are missing.

        :param rows: values, and the rows of the table with their keys.
        """
        updates: list[Sequence[Any]] = []
        inserts: list[Sequence[Any]] = []
        owners: dict[Identity, list[SqlValue]] = {}
        for values, found in rows:
            identity = self._identity(found[0] if found else values)
            if owners.setdefault(identity, values) is not values:
                raise self._same_key_error(owners[identity], values)
            if not self._is_kept:
                self._written.add(_strip(identity))
            if not found:
                inserts.append([*self._bind_keys(values), *values[self._key_count :]])
                continue
            changed = [row for row in found if not self._is_equal(row, values)]
            self.counts.updated += bool(changed)
            self.counts.unchanged += not changed
            keys = dict.fromkeys(tuple(row[: self._key_count]) for row in changed)
            updates += [[*values[self._key_count :], *key] for key in keys]
        self._run(self._update, updates)
        if self._inserts:
            self._run(self._insert, inserts)
            self.counts.inserted += len(inserts)
        else:
            self.counts.skipped += len(inserts)

    def _lose_rows(self, groups: Sequence[list[list[Any]]]) -> None:
        losses: list[Sequence[Any]] = []
        for found in groups:
            if found and _strip(self._identity(found[0])) not in self._written:
                losses += self._keys_to_lose(found)
        self._run(self._lose, losses)
        self.counts.gone += len(losses)

    def _same_key_error(self, *rows: Sequence[SqlValue]) -> FluxRequestError:
        shown = " and ".join(
            ", ".join(repr(str(key)[:_MAX_SHOWN_CHARACTERS]) for key in values[: self._key_count])
            for values in rows
        )
        return FluxRequestError(
            f"Two rows of the manifest have one key in the table: {redact_line(shown)}. Nothing "
            "was written. Correct the keys of the input, or choose other key_columns."
        )

    def _find(self, rows: Sequence[Sequence[SqlValue]]) -> _StoredRows:
        """Return the rows of the table that have the keys of some rows."""
        if self._key_count == 1:
            marks = ", ".join([self._placeholder] * len(rows))
            condition = f"{self._columns.keys[0]} IN ({marks})"
        else:
            condition = " OR ".join([f"({self._has_key})"] * len(rows))
        bound = [key for values in rows for key in self._bind_keys(values)]
        self._cursor.execute(self._select + condition, tuple(bound))
        stored = list(self._fetch())
        if stored:
            keys = stored[0][: self._key_count]
            self._has_numbers = [isinstance(value, _NUMBERS) for value in keys]
        return _StoredRows(
            ((self._identity(row), row) for row in stored), [self._identity(row) for row in rows]
        )

    def _fetch(self) -> Iterator[list[Any]]:
        for row in self._cursor.fetchall():
            # A connection may ask its driver for dicts.
            yield list(row.values()) if isinstance(row, Mapping) else list(row)

    def _bind_keys(self, values: Sequence[SqlValue]) -> list[SqlValue]:
        return [
            int(str(value)) if kind is int and _INTEGER.fullmatch(str(value)) else value
            for kind, value in zip(self._key_types, values[: self._key_count], strict=True)
        ]

    def _identity(self, values: Sequence[Any]) -> Identity:
        """Return the keys of a row, which are equal for equal keys of the types of the table.

        The key ``1.50`` is the number 1.5 if the column has numbers, and else another text.
        """
        return tuple(
            _to_number(value) if is_number else str(value)
            for value, is_number in zip(values[: self._key_count], self._has_numbers, strict=True)
        )

    def _keys_to_lose(self, found: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        names, emptied = self._columns.names, set(self._columns.of_images)
        positions = [position for position, name in enumerate(names) if name in emptied]
        if self._is_kept or not (positions or self._deletes):
            return []
        changed = [
            row
            for row in found
            if self._deletes or any(row[position] is not None for position in positions)
        ]
        return list(dict.fromkeys(tuple(row[: self._key_count]) for row in changed))

    def _is_equal(self, row: Sequence[Any], values: Sequence[SqlValue]) -> bool:
        pairs = zip(row[self._key_count :], values[self._key_count :], strict=True)
        return all(is_same_value(stored, value) for stored, value in pairs)

    def _run(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._cursor.executemany(statement, [tuple(row) for row in rows])


class _StoredRows:
    """Rows of a table by their keys.

    The database has found them by the rules of their column. These may ignore spaces at the end
    (CHAR), and the case of letters (UUID, a collation). A row belongs to the key that is nearest:
    where case counts, ``a1`` is not ``A1``.

    :param rows: pairs of keys and a row.
    :param requested: keys that the database was asked for.
    """

    def __init__(
        self, rows: Iterable[tuple[Identity, list[Any]]], requested: Collection[Identity]
    ) -> None:
        spellings: tuple[Callable[[Identity], Identity], ...] = (tuple, _strip, _fold)
        self._levels = [(spell, set(map(spell, requested))) for spell in spellings]
        self._rows: list[dict[Identity, list[list[Any]]]] = [{} for _ in spellings]
        for identity, row in rows:
            for rows_by_key, (spell, keys) in zip(self._rows, self._levels, strict=True):
                if spell(identity) in keys:
                    rows_by_key.setdefault(spell(identity), []).append(row)
                    break

    def find(self, identity: Identity) -> list[list[Any]]:
        """Return the rows with a key.

        :param identity: one of the requested keys.
        """
        levels = zip(self._rows, self._levels, strict=True)
        found = (rows.get(spell(identity)) for rows, (spell, _) in levels)
        return next(filter(None, found), [])


def _strip(identity: Identity) -> Identity:
    return tuple(key.rstrip(" ") if isinstance(key, str) else key for key in identity)


def _fold(identity: Identity) -> Identity:
    return tuple(key.rstrip(" ").casefold() if isinstance(key, str) else key for key in identity)


def _to_number(value: Any) -> str | Decimal:
    """Return a key as an exact number, without writing out its digits; as text if it is none."""
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        return str(value)
    return number if number.is_finite() else str(value)


def is_same_value(stored: Any, value: SqlValue) -> bool:
    """Whether a value of a table is the one to write, whatever the type of its column.

    If in doubt it is not, and the row is written once more.

    :param stored: value as the driver returned it.
    :param value: value to write.
    """
    if stored is None or value is None:
        return stored is None and value is None
    if isinstance(stored, str) and isinstance(value, str):
        # A column CHAR adds spaces, so that each run would write the row again.
        return stored.removeprefix(value).strip(" ") == "" and stored.startswith(value)
    if type(stored) is type(value):
        return bool(stored == value)
    try:
        return _is_same_of_types(stored, value)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        return False


def _is_same_of_types(stored: Any, value: Any) -> bool:
    if isinstance(stored, _NUMBERS):
        return _to_decimal(stored) == _to_decimal(value)
    if isinstance(stored, datetime):
        time_to_write = datetime.fromisoformat(value)
        # A column without a time zone keeps the time, and leaves the zone out.
        is_local = stored.tzinfo is None
        return bool(stored == (time_to_write.replace(tzinfo=None) if is_local else time_to_write))
    if isinstance(stored, (date, time)):
        return bool(stored.isoformat() == value)
    if isinstance(stored, (dict, list)):
        return bool(stored == json.loads(value))
    return str(stored) == str(value)


def _to_decimal(value: Any) -> Decimal:
    return Decimal(str(int(value) if isinstance(value, bool) else value))
