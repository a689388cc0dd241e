"""The arguments that map columns of a manifest to those of a table, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from airflow_provider_flux.bfl.catalog import did_you_mean
from airflow_provider_flux.bfl.errors import FluxRequestError

#: Action for a row of the table whose row the input does not have any more: leave it, empty its
#: columns about the image, or delete it.
OnGone: TypeAlias = Literal["keep", "null", "delete"]
#: Action for a row that the table does not have: insert it, or skip it.
OnMissing: TypeAlias = Literal["insert", "skip"]
#: Columns of a table that has the names of the manifest.
DEFAULT_COLUMNS: Mapping[str, str] = {
    name: name
    for name in (
        *("key", "outcome", "reason", "uri", "thumb", "alt_text", "sha256", "bytes", "width"),
        *("height", "content_type", "model", "seed", "cost", "request_id", "fingerprint"),
        "submitted_at",
    )
}
#: Columns of the manifest with several values, each with a name.
_WITH_NAMES = frozenset({"input", "renditions"})
#: A name as it stands in SQL: plain, or in the quotes of a database. ``%`` would begin a
#: placeholder.
_NAME = re.compile(r'[^\W\d][\w$]*|"[^"%\x00]+"|`[^`%\x00]+`|\[[^\[\]%\x00]+\]')
_MAX_NAME_CHARACTERS = 128
_MAX_TABLE_PARTS = 4


@dataclass(frozen=True)
class Source:
    """A column of the manifest, or one named value of it.

    :param column: name of the column.
    :param name: name of the value, for ``input.name`` and ``renditions.square``; empty for the
        whole column.
    """

    column: str
    name: str = ""

    @classmethod
    def parse(cls, text: Any, column_names: Sequence[str]) -> Source:
        """Parse the text that names a column of the manifest.

        :param text: name of the column, for example ``uri`` or ``input.name``.
        :param column_names: columns of a manifest.
        :raises FluxRequestError: if the manifest does not have it.
        """
        column, dot, name = str(text).partition(".")
        if not isinstance(text, str) or column not in column_names:
            raise FluxRequestError(
                f"columns: a manifest has no column {text!r}.{did_you_mean(column, column_names)} "
                f"It has {', '.join(column_names)}; and input.<column of the input>, "
                "renditions.<name>."
            )
        if dot and (column not in _WITH_NAMES or not name):
            raise FluxRequestError(
                f"columns: {text!r} names no column. Only input.<column of the input> and "
                "renditions.<name> have a dot."
            )
        return cls(column, name)

    def __str__(self) -> str:
        return f"{self.column}.{self.name}" if self.name else self.column


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table that are written, and those that identify a row.

    :param sources: column of the manifest by column of the table.
    :param keys: columns of the table that identify a row.
    """

    sources: Mapping[str, Source]
    keys: tuple[str, ...]

    @classmethod
    def parse(cls, columns: Any, key_columns: Any, column_names: Sequence[str]) -> TableColumns:
        """Check the arguments ``columns`` and ``key_columns``.

        :param columns: dict of the column of the manifest by column of the table.
        :param key_columns: list of columns of the table.
        :param column_names: columns of a manifest.
        :raises FluxRequestError: naming the argument, its value and what is allowed.
        """
        if not isinstance(columns, Mapping) or not columns:
            raise FluxRequestError(
                "columns must be a dict of the column of the manifest by column of the table, for "
                "example {'sku': 'key', 'image_url': 'uri'}."
            )
        is_list = isinstance(key_columns, (list, tuple))
        if not is_list or not key_columns:
            raise FluxRequestError(
                f"key_columns={key_columns!r} must be a list of columns of the table, for example "
                "['sku']."
            )
        sources = {}
        for name, source in columns.items():
            check_name("columns", name)
            sources[name] = Source.parse(source, column_names)
        for name in key_columns:
            if name not in sources:
                raise FluxRequestError(
                    f"key_columns has {name!r}, which columns does not have. Add it to columns, "
                    "for example {'sku': 'key'}."
                )
        if len(set(key_columns)) == len(sources):
            raise FluxRequestError("columns has nothing to write beside key_columns. Add a column.")
        return cls(sources, tuple(dict.fromkeys(key_columns)))

    @property
    def names(self) -> list[str]:
        """The columns of the table: first the keys, then all others."""
        return [*self.keys, *(name for name in self.sources if name not in self.keys)]

    @property
    def of_images(self) -> list[str]:
        """The columns of the table about the image: neither keys nor columns of the input."""
        return [
            name
            for name, source in self.sources.items()
            if name not in self.keys and source.column not in {"input", "key"}
        ]


def check_table(table: Any) -> str:
    """Return the name of a table.

    :param table: the name, with a schema if it needs one.
    :raises FluxRequestError: if it cannot stand in a statement.
    """
    parts = _split_parts(table) if isinstance(table, str) else []
    if not 0 < len(parts) <= _MAX_TABLE_PARTS:
        raise FluxRequestError(
            f"table={table!r} must be the name of a table, for example 'products' or "
            "'shop.products'. A name with other characters needs the quotes of the database."
        )
    for part in parts:
        check_name("table", part)
    return str(table)


def check_name(argument: str, name: Any) -> None:
    """Check a name that stands in a statement as it is.

    :param argument: the argument that has the name, for errors.
    :param name: the name, in the quotes of the database if it needs them.
    :raises FluxRequestError: if it is no name.
    """
    is_name = isinstance(name, str) and len(name) <= _MAX_NAME_CHARACTERS
    if not is_name or not _NAME.fullmatch(name):
        raise FluxRequestError(
            f"{argument} has {name!r}, which is no name of a database. It stands in the statement "
            "as it is: use letters, digits and _, or write it in the quotes of the database, for "
            "example '\"order\"'."
        )


def _split_parts(table: str) -> list[str]:
    """Return the parts of a name with dots between them; a dot in quotes belongs to a part."""
    parts, rest = [], table
    while match := _NAME.match(rest):
        parts.append(match.group())
        rest = rest[match.end() :]
        if not rest:
            return parts
        if not rest.startswith("."):
            return []
        rest = rest[1:]
    return []
