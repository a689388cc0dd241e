"""Values for a table from the rows of a manifest, which are data that a stranger may have written.

A row that is damaged, whose files are elsewhere, or whose key is missing, ends the transfer before
anything is written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact_line
from airflow_provider_flux.bfl.storable import is_storable_integer
from airflow_provider_flux.gallery.manifest_cards import UnreadableManifestError
from airflow_provider_flux.landing.below_root import describe_uri, find_escape
from airflow_provider_flux.transfers.table_columns import Source, TableColumns

#: Columns of a manifest that name a file.
_FILES = frozenset({"uri", "sidecar", "thumb", "previous_uri", "renditions", "rejected"})
#: Outcome of a row that the input does not have any more.
GONE = "gone"
_WITH_IMAGE = frozenset({"landed", "reused"})
_MAX_SHOWN_CHARACTERS = 80
#: Scheme of a local path, which may stand before it.
_LOCAL_PREFIX = re.compile(r"(?:file|local)://(?=/)")

#: A value that any driver can bind.
SqlValue: TypeAlias = str | int | float | bool | None


class Place(NamedTuple):
    """The place of a row, for errors.

    :param manifest: URI of the manifest.
    :param number: position in it, from 0.
    """

    manifest: str
    number: int

    def __str__(self) -> str:
        return f"{describe_uri(self.manifest)}, row {self.number}"


class TableRow(NamedTuple):
    """The values of a row of the table, in the order of :attr:`TableColumns.names`.

    :param action: whether to write them, or what ``on_gone`` says for a row that is gone.
    :param values: first those of the keys, then all others.
    """

    action: Literal["write", "gone"]
    values: list[SqlValue]


class ManifestValues:
    """Values of the rows of manifests for the columns of a table.

    :param columns: the columns of the table.
    :param outcomes: outcomes of the rows to write.
    :param has_gone: whether rows that are gone count.
    :param public_url: URL in place of the folder of the files; ``None`` to keep their URIs.
    """

    def __init__(
        self,
        columns: TableColumns,
        outcomes: Collection[str],
        *,
        has_gone: bool = False,
        public_url: str | None = None,
    ) -> None:
        self._columns = columns
        self._outcomes = frozenset(outcomes)
        self._has_gone = has_gone
        self._public_url = public_url
        self._places: dict[bytes, Place] = {}
        #: Keys of the rows that are gone in one of the manifests.
        self._gone: set[bytes] = set()
        sources = columns.sources.values()
        #: Named values that no row had until now.
        self._missing = {source for source in sources if source.name}
        self._has_rows = False

    def read(self, row: Any, place: Place, root: str) -> TableRow | None:
        """Return the values of a row; ``None`` if its outcome is not among those to write.

        :param row: the row as it was read.
        :param place: the place of the row, for errors.
        :param root: folder of the files, with a slash at its end.
        :raises UnreadableManifestError: if the row is damaged, or names a file elsewhere.
        :raises FluxRequestError: if two rows have one key, or a row has none.
        """
        outcome = row.get("outcome") if isinstance(row, Mapping) else None
        if not isinstance(outcome, str) or outcome == "damaged":
            raise UnreadableManifestError(f"{place} is damaged. Nothing was written.")
        is_gone = outcome == GONE and self._has_gone
        if not is_gone and outcome not in self._outcomes:
            return None
        if outcome in _WITH_IMAGE and not isinstance(row.get("uri"), str):
            raise UnreadableManifestError(f"{place} has no uri. Nothing was written.")
        reader = _RowReader(row, place, root, self._public_url)
        names, sources = self._columns.names, self._columns.sources
        count = len(self._columns.keys)
        keys: list[SqlValue] = [reader.read_key(sources[name]) for name in names[:count]]
        if is_gone:
            digest = _digest_of(keys)
            is_known = digest in self._gone
            self._gone.add(digest)
            gone = TableRow("gone", [*keys, *[None] * (len(names) - count)])
            return None if is_known else gone
        self._register(keys, place)
        self._has_rows = True
        values = [reader.read(sources[name]) for name in names[count:]]
        self._missing -= {source for source in self._missing if reader.has(source)}
        return TableRow("write", [*keys, *values])

    def is_lost(self, row: TableRow) -> bool:
        """Whether a row is gone, and no other manifest has it: it may have moved to another batch.

        :param row: a row, after all manifests were read.
        """
        keys = row.values[: len(self._columns.keys)]
        return row.action == "gone" and _digest_of(keys) not in self._places

    def check_all_found(self) -> None:
        """Check that each named value was in one row at least.

        :raises FluxRequestError: naming those that were in none, which would become NULL.
        """
        if self._missing and self._has_rows:
            names = ", ".join(sorted(map(str, self._missing)))
            raise FluxRequestError(
                f"columns names {names}, and no row of the manifest has it. Nothing was written. "
                "Set keep_columns of the batch for columns of the input, and renditions for copies "
                "of the image."
            )

    def _register(self, keys: Sequence[Any], place: Place) -> None:
        first = self._places.setdefault(_digest_of(keys), place)
        if first != place:
            shown = ", ".join(repr(str(key)[:_MAX_SHOWN_CHARACTERS]) for key in keys)
            raise FluxRequestError(
                f"{place} has the same key as row {first.number}: {redact_line(shown)}. Nothing "
                "was written. Add a column to key_columns that tells them apart, for example an "
                "axis of the sweep."
            )


class _RowReader:
    """Reader of one row of a manifest."""

    def __init__(
        self, row: Mapping[str, Any], place: Place, root: str, public_url: str | None
    ) -> None:
        self._row = row
        self._place = place
        self._root = root
        self._public_url = public_url

    def has(self, source: Source) -> bool:
        """Whether the row has a named value."""
        return source.name in self._members(source.column)

    def read(self, source: Source) -> SqlValue:
        """Return a value as a driver can bind it."""
        value = self._value_of(source)
        if value is None:
            return None
        if source.column in _FILES:
            return self._read_files(source, value)
        if source.column != "input" and isinstance(value, (Mapping, list)):
            raise self._damaged(source)
        return self._convert(source, value)

    def read_key(self, source: Source) -> str:
        """Return a value that identifies a row, as text: the database compares it by its type."""
        value = self._value_of(source)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        is_key = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        text = str(value) if is_key else ""
        if not text.strip() or "\x00" in text or _has_half_character(text):
            raise FluxRequestError(
                f"{self._place} has no {source} that can be a key. Nothing was written. Correct "
                "key_columns, or the row of the input."
            )
        return text

    def _value_of(self, source: Source) -> Any:
        if source.name:
            return self._members(source.column).get(source.name)
        if source.column in {"input", "renditions"}:
            return self._members(source.column) or None
        return self._row.get(source.column)

    def _members(self, column: str) -> Mapping[str, Any]:
        """Return the named values of a column, whose form depends on the format of the manifest."""
        value = self._row.get(column)
        try:
            if column == "input" and isinstance(value, str):
                value = json.loads(value)
            elif column == "renditions" and isinstance(value, list):  # a map of Parquet
                value = dict(value)
        except (TypeError, ValueError, RecursionError):
            raise self._damaged(Source(column)) from None
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._damaged(Source(column))
        return value

    def _read_files(self, source: Source, value: Any) -> str:
        if isinstance(value, Mapping):
            return json.dumps({str(name): self._read_file(source, value[name]) for name in value})
        if isinstance(value, list):
            return json.dumps([self._read_file(source, item) for item in value])
        return self._read_file(source, value)

    def _read_file(self, source: Source, uri: Any) -> str:
        if not isinstance(uri, str):
            raise self._damaged(source)
        if problem := find_escape(uri, self._root):
            raise UnreadableManifestError(
                f"{self._place}: {source} {describe_uri(uri)} {problem}. Nothing was written. Set "
                "image_root to the folder that all files of the manifest are below."
            )
        if self._public_url is None:
            return _clean(uri)
        path, root = _LOCAL_PREFIX.sub("", uri), _LOCAL_PREFIX.sub("", self._root)
        if not path.startswith(root):  # below it by a link of a local disk
            raise UnreadableManifestError(
                f"{self._place}: {source} {describe_uri(uri)} does not begin with {root}, which "
                "public_url replaces. Nothing was written. Set image_root as the URIs write it."
            )
        return self._public_url + quote(path[len(root) :], errors="replace")

    def _convert(self, source: Source, value: Any) -> SqlValue:
        if isinstance(value, (Mapping, list)):
            value = json.dumps(value, ensure_ascii=False)
        if isinstance(value, str):
            return _clean(value)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if is_storable_integer(value) else str(value)
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise self._damaged(source)

    def _damaged(self, source: Source) -> UnreadableManifestError:
        return UnreadableManifestError(f"{self._place}: {source} is damaged. Nothing was written.")


def _digest_of(keys: Sequence[Any]) -> bytes:
    return blake2b(json.dumps(keys).encode(), digest_size=16).digest()


def _clean(text: str) -> str:
    """Return a text without NUL, which PostgreSQL refuses, and without halves of characters."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _has_half_character(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
