"""Readers of JSONL, CSV and Parquet. Each yields one row at a time from an open file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Generator, Iterator
from typing import IO, Any, TypeAlias

from airflow_provider_flux.batch.input.json_values import NotJsonError
from airflow_provider_flux.batch.input.raw_rows import (
    RawRow,
    UnreadableRow,
    check_header,
    select_values,
    to_column_value,
)
from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError

#: Bytes that are read from a store at a time. s3fs would keep blocks of 50 MiB in memory.
READ_BLOCK_BYTES = MIB
#: Longest line of a file. A file without line ends would otherwise fill the memory.
MAX_LINE_BYTES = 64 * MIB
#: Rows of a Parquet file that are in memory at a time.
_PARQUET_BATCH_ROWS = 256

#: A reader takes an open binary file, the names to read (``None`` for all), and the argument with
#: its value for errors.
RowFormat: TypeAlias = Callable[[Any, Collection[str] | None, str], Generator[RawRow]]


def read_jsonl(file: IO[bytes], columns: Collection[str] | None, source: str) -> Generator[RawRow]:
    """Read a file with one JSON value in each line. Blank lines are skipped.

    :param file: open binary file.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if a line is too long.
    """
    for number, line in _read_lines(file, source):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            yield RawRow(number, UnreadableRow("is not UTF-8"))
        except json.JSONDecodeError as error:
            problem = f"is not JSON ({error.msg} at character {error.pos + 1})"
            yield RawRow(number, UnreadableRow(problem))
        except (ValueError, RecursionError) as error:
            yield RawRow(number, UnreadableRow(f"cannot be read ({type(error).__name__})"))
        else:
            yield RawRow(number, select_values(row, columns))


def read_csv(file: IO[bytes], columns: Collection[str] | None, source: str) -> Generator[RawRow]:
    """Read a CSV file with a header. Blank lines are skipped, and an empty cell is no value.

    :param file: open binary file.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if the file is not CSV in UTF-8, or its header is not valid.
    """
    # The limit belongs to the process, and its default is too low for a cell with an image.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    reader = csv.reader(_decode_lines(file, source), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        check_header(header, columns, source)
        selected = [
            (position, name)
            for position, name in enumerate(header)
            if columns is None or name in columns
        ]
        previous_line = reader.line_num
        for cells in reader:
            line, previous_line = previous_line + 1, reader.line_num
            if not cells:
                continue
            if len(cells) == len(header):
                yield RawRow(line, {name: cells[position] or None for position, name in selected})
            else:
                problem = f"has {len(cells)} cells, but the header has {len(header)}"
                yield RawRow(line, UnreadableRow(problem))
    except csv.Error as error:
        raise FluxRequestError(f"{source}: line {reader.line_num} is not CSV ({error}).") from None


def read_parquet(
    file: IO[bytes], columns: Collection[str] | None, source: str
) -> Generator[RawRow]:
    """Read a Parquet file in small batches.

    :param file: open binary file.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if a column is missing.
    :raises FluxConfigurationError: if pyarrow is not installed.
    """
    try:
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]
    except ImportError:
        raise FluxConfigurationError(
            f"{source} needs pyarrow. Run pip install 'airflow-provider-flux[parquet]'."
        ) from None
    # These options keep pyarrow from reading whole row groups ahead.
    with ParquetFile(file, pre_buffer=False, buffer_size=READ_BLOCK_BYTES) as table:
        header = table.schema_arrow.names
        check_header(header, columns, source)
        selected = None if columns is None else [name for name in header if name in columns]
        for batch in table.iter_batches(
            batch_size=_PARQUET_BATCH_ROWS, columns=selected, use_threads=False
        ):
            for row in batch.to_pylist():
                try:
                    values = {name: to_column_value(name, value) for name, value in row.items()}
                    yield RawRow(None, values)
                except NotJsonError as error:
                    yield RawRow(None, UnreadableRow(str(error)))


def _read_lines(file: IO[bytes], source: str) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, from 1."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise FluxRequestError(
                f"{source}: line {number} is longer than {MAX_LINE_BYTES // MIB} MiB."
            )
        yield number, line


def _decode_lines(file: IO[bytes], source: str) -> Iterator[str]:
    for number, line in _read_lines(file, source):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise FluxRequestError(f"{source}: line {number} is not UTF-8.") from None
