"""Readers of JSONL and Parquet. Each yields one row at a time from an open file."""

from __future__ import annotations

import codecs
import gzip
import json
import re
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import IO, Any, TypeAlias

from airflow_provider_flux.batch.input import parquet_limits
from airflow_provider_flux.batch.input.json_values import NotJsonError
from airflow_provider_flux.batch.input.raw_rows import (
    Column,
    RawRow,
    UnreadableRow,
    check_header,
    describe_unexpected,
    select_values,
    to_column_value,
)
from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError

#: Bytes that are read from a store at a time. s3fs would keep blocks of 50 MiB in memory.
READ_BLOCK_BYTES = MIB
#: Longest line of a file. A file without line ends would otherwise fill the memory.
MAX_LINE_BYTES = 64 * MIB
#: Longest line of a small gzipped file: a few kilobytes can expand to gigabytes. In a larger one, a
#: line may have four times the size of the file.
_MAX_EXPANDED_BYTES = 8 * MIB
_MAX_EXPANSION = 4
#: Lines of more bytes are searched for too many values.
_LONG_LINE_BYTES = MIB // 4
#: Values of a row. In Python, each takes up to a hundred bytes.
_MAX_ROW_VALUES = 200_000
#: Column that pandas writes for the index of a data frame.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")

#: A reader takes an open binary file, the names to read (``None`` for all), and the argument with
#: its value for errors.
RowFormat: TypeAlias = Callable[[Any, Collection[Column] | None, str], Generator[RawRow]]


def read_jsonl(
    file: IO[bytes],
    columns: Collection[Column] | None,
    source: str,
    column_names: Sequence[str] | None = None,
) -> Generator[RawRow]:
    """Read a file with one JSON value in each line. Blank lines are skipped.

    :param file: open binary file.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :param column_names: names of the values of lines that are lists, in order; ``None`` for none.
    :raises FluxRequestError: if a line is too long, or the file is JSON of another form.
    """
    is_first = True
    for number, line in read_lines(file, source):
        if not line.strip():
            continue
        is_first, was_first = False, is_first
        if has_too_many_values(line, b",[{"):
            yield RawRow(number, UnreadableRow(f"has more than {_MAX_ROW_VALUES} values"))
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))  # joined files have a BOM each
        except UnicodeDecodeError:
            yield RawRow(number, UnreadableRow("is not UTF-8"))
        except json.JSONDecodeError as error:
            begin = line.removeprefix(codecs.BOM_UTF8).strip()
            if was_first and (begin.startswith(b"[") or begin == b"{"):
                raise _not_lines_error(source) from None
            problem = f"is not JSON ({error.msg} at character {error.pos + 1})"
            yield RawRow(number, UnreadableRow(problem))
        except (ValueError, RecursionError) as error:
            yield RawRow(number, UnreadableRow(f"cannot be read ({type(error).__name__})"))
        else:
            if was_first and isinstance(row, list) and row and isinstance(row[0], dict):
                raise _not_lines_error(source)
            yield RawRow(number, select_values(row, columns, column_names))


def _not_lines_error(source: str) -> FluxRequestError:
    return FluxRequestError(
        f"{source} has one JSON value for all rows, or rows of several lines. Write each row in a "
        "line of its own: jq -c '.[]' does so for a list, and jq -c '.' for rows."
    )


def read_parquet(
    file: IO[bytes], columns: Collection[Column] | None, source: str
) -> Generator[RawRow]:
    """Read a Parquet file in small batches. Its pages must not expand too much.

    :param file: open binary file.
    :param columns: names to read, ``None`` for all.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if a column is missing, or expands too much.
    :raises FluxConfigurationError: if pyarrow is not installed.
    """
    try:
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]
    except ImportError:
        raise FluxConfigurationError(
            f"{source} needs pyarrow. Run pip install 'airflow-provider-flux[parquet]'."
        ) from None
    with parquet_limits.open_file(ParquetFile, file, READ_BLOCK_BYTES) as table:
        header = table.schema_arrow.names
        check_header(header, columns, source)
        selected = [
            name
            for name in header
            if (name in columns if columns is not None else not _PANDAS_INDEX.fullmatch(name))
        ]
        for batch in parquet_limits.iterate_batches(table, selected, source):
            for index in range(batch.num_rows):
                yield RawRow(None, _read_parquet_row(batch, index))


def _read_parquet_row(batch: Any, index: int) -> dict[str, Any] | UnreadableRow:
    """Read a row by its cells, because a cell that Python cannot hold fails a whole batch."""
    values: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = to_column_value(name, column[index].as_py())
        except NotJsonError as error:
            return UnreadableRow(str(error))
        except Exception as error:
            return UnreadableRow(f"{name!r} {describe_unexpected(error)}")
    return values


def read_lines(file: IO[bytes], source: str) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, from 1.

    :param file: open binary file.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if a line is too long.
    """
    number, limit = 0, max_line_bytes(file)
    while line := file.readline(limit + 1):
        number += 1
        if len(line) > limit:
            raise FluxRequestError(f"{source}: line {number} is longer than {limit // MIB} MiB.")
        yield number, line


def max_line_bytes(file: IO[bytes]) -> int:
    """Return the size of the longest line that is read from a file.

    :param file: open binary file.
    """
    if not isinstance(file, gzip.GzipFile):
        return MAX_LINE_BYTES
    compressed = getattr(file.fileobj, "size", None) or 0
    return min(MAX_LINE_BYTES, max(_MAX_EXPANDED_BYTES, _MAX_EXPANSION * compressed))


def has_too_many_values(line: bytes, separators: bytes) -> bool:
    """Whether a line would give far more values than any row has.

    :param line: the line as it was read.
    :param separators: bytes of which one stands before each value.
    """
    if len(line) <= _LONG_LINE_BYTES:
        return False
    return sum(line.count(separator) for separator in separators) > _MAX_ROW_VALUES
