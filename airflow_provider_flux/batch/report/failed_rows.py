"""A file of the rows that did not work, in the form of the input, to be run again."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from airflow_provider_flux.batch.input.mapping import InputMapping, parameter_names
from airflow_provider_flux.batch.report.manifest import (
    JSONL,
    PARQUET,
    check_file_path,
    import_pyarrow,
)
from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.storable import is_storable_integer
from airflow_provider_flux.landing.image_names import normalize_uri
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.uploads import put_file

log = logging.getLogger(__name__)

CSV = "text/csv"
_CONTENT_TYPES = {".jsonl": JSONL, ".ndjson": JSONL, ".csv": CSV, ".parquet": PARQUET}
#: Outcomes of the rows in the file. A row that is pending or submitted is not among them: the next
#: try or run of the task resumes it, and to run it again would pay twice.
FAILED: tuple[RowOutcome, ...] = (
    "moderated",
    "rejected",
    "invalid",
    "failed",
    "uncertain",
    "lost",
)
#: A secret that a row must not hold; a file would store it.
_SECRET = "webhook_secret"  # noqa: S105 - the name of a column
_WRITE_BATCH_ROWS = 1000
#: Delimiters that a name in a header must not be taken for.
_OTHER_DELIMITERS = frozenset(';\t|="')


def check_failed_path(path: Any) -> str:
    """Return the MIME type of a file of rows, by the ending of its name.

    :param path: absolute path or URI.
    :raises FluxRequestError: if the ending is unknown, the path is relative, or a store would keep
        it under another name, or not at all.
    """
    content_type = check_file_path("failed_path", path, _CONTENT_TYPES)
    if content_type == PARQUET:
        import_pyarrow()
    return content_type


def check_other_path(path: str, others: Mapping[str, str | None]) -> None:
    """Check that the file replaces no other file of the batch.

    :param path: path of the file.
    :param others: path by what it is; ``None`` for what the batch does not have. A folder has a
        slash at its end.
    :raises FluxRequestError: if two are the same.
    """
    name = normalize_uri(path)
    for label, other in others.items():
        if not other:
            continue
        taken = normalize_uri(other)
        is_below = other.endswith("/") and name.startswith(f"{taken.rstrip('/')}/")
        if name == taken or is_below:
            raise FluxRequestError(
                f"failed_path={path!r} would replace {label}. Choose another name."
            )


@dataclass(frozen=True)
class FailedRows:
    """The file of the rows that did not work.

    :param uri: its URI.
    :param write_options: how it is written. Their content type chooses the format.
    :param folder: local folder for a temporary file.
    :param mapping: how the rows of the input become requests.
    """

    uri: str
    write_options: WriteOptions
    folder: Path
    mapping: InputMapping

    def write(self, reader: RowReader) -> int:
        """Write the file, in one put that replaces an earlier one, and return its number of rows.

        Without such rows it has only a header, or nothing, so that a task that reads it finds it.

        :param reader: reader of the rows of the batch.
        :raises FluxStorageError: if it cannot be written. An earlier one is unchanged then.
        """
        local = self.folder / "failed-rows"
        schema = _Schema()
        count = 0
        for row in self._rows(reader, FAILED):
            schema.add(row)
            count += 1
        if not count:  # the header is that of the input
            for row in islice(self._rows(reader, None), _WRITE_BATCH_ROWS):
                schema.add(dict.fromkeys(row))
        write = {CSV: _write_csv, PARQUET: _write_parquet}.get(
            str(self.write_options.content_type), _write_jsonl
        )
        write(self._rows(reader, FAILED), schema, local)
        run_sync(put_file(self.uri, local, self.write_options))
        local.unlink()
        self._log(reader, count)
        return count

    def _rows(
        self, reader: RowReader, outcomes: Collection[RowOutcome] | None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of the input with some outcomes, each once."""
        last = -1
        for index, data in reader.input_rows(outcomes):
            number = index // self.mapping.sweep.count  # each row of a sweep has many
            if number != last and (row := self._to_input(number, data)):
                last = number
                yield row

    def _to_input(self, number: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row as the input has it; empty if it could not be read."""
        mapping = self.mapping
        axes, columns = mapping.sweep.axes, mapping.columns or {}
        row = {name: value for name, value in data.items() if name not in (*axes, _SECRET)}
        positions = {str(column): name for name, column in columns.items() if type(column) is int}
        if positions:  # a file has names: those of the parameters
            row = {positions[name]: value for name, value in row.items() if name in positions}
        elif mapping.is_table and not (columns or mapping.prompt or mapping.keep_columns):
            # A query may have other columns than parameters, and a file may not.
            known = parameter_names()
            row = {name: value for name, value in row.items() if name in known}
        if row and "key" not in row and "key" not in columns:
            row = {"key": str(number), **row}
        return row

    def _log(self, reader: RowReader, count: int) -> None:
        unreadable = sum(not data for _, data in reader.input_rows(FAILED))
        log.info("Rows that did not work: %d, in %s", count, self.uri)
        if unreadable:
            log.warning(
                "%d rows that could not be read, or were too large, are not in %s. The manifest "
                "names them.",
                unreadable,
                self.uri,
            )
        if count and self.mapping.columns is not None and "key" not in self.mapping.columns:
            log.warning(
                "The input has no keys, so %s has the numbers of its rows in the column 'key'. To "
                "keep the names of the images, run it with 'key': 'key' in columns.",
                self.uri,
            )


class _Schema:
    """Columns of the file in the order of their first row, each with the type of its values."""

    def __init__(self) -> None:
        self.types: dict[str, type] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            kind = _type_of(value)
            known = self.types.setdefault(name, kind)
            if known is type(None):
                self.types[name] = kind
            elif kind not in (known, type(None)):
                self.types[name] = str


def _type_of(value: Any) -> type:
    """Return the type of column that holds a value; text for any other."""
    if isinstance(value, int) and not isinstance(value, bool) and not is_storable_integer(value):
        return str
    kind = type(value)
    return kind if kind in (type(None), bool, int, float) else str


def _to_text(value: Any) -> str:
    """Return a value as text that the batch reads as the same value.

    A text stays as it is, also if a spreadsheet would take it for a formula: the file is for the
    batch, and another value would be another request.
    """
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a key 101.0 is the key 101
    return str(value)


def _write_jsonl(rows: Iterator[dict[str, Any]], schema: _Schema, file: Path) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_csv(rows: Iterator[dict[str, Any]], schema: _Schema, file: Path) -> None:
    names = list(schema.types)
    is_plain = not _OTHER_DELIMITERS & set("".join(names))
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL if is_plain else csv.QUOTE_ALL
    with file.open("w", encoding="utf-8", newline="") as stream:
        # A cell with a character of the line end gets quotes, also a lone carriage return.
        writer = csv.writer(stream, lineterminator="\r\n", quoting=quoting)
        if names:
            writer.writerow(names)
        for row in rows:
            writer.writerow([_to_text(row.get(name)) for name in names])


def _write_parquet(rows: Iterator[dict[str, Any]], schema: _Schema, file: Path) -> None:
    pyarrow = import_pyarrow()
    from pyarrow import parquet  # type: ignore[import-untyped]

    types = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    fields = [(name, types.get(kind, pyarrow.string())) for name, kind in schema.types.items()]
    arrow_schema = pyarrow.schema(fields)
    texts = {name for name, kind in schema.types.items() if kind not in types}
    with parquet.ParquetWriter(file, arrow_schema) as writer:
        while batch := list(islice(rows, _WRITE_BATCH_ROWS)):
            cells = [
                {
                    name: _to_text(value) if name in texts and value is not None else value
                    for name, value in row.items()
                }
                for row in batch
            ]
            writer.write_table(pyarrow.Table.from_pylist(cells, schema=arrow_schema))
