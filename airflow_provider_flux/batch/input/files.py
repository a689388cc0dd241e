"""Files of rows: JSONL, CSV and Parquet, streamed from where they lie."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from io import BufferedReader
from typing import IO, Any, TypeAlias

from airflow_provider_flux.batch.input.json_values import NotJsonError
from airflow_provider_flux.batch.input.raw_rows import (
    TAKEN,
    Broken,
    Raw,
    check_header,
    plain_value,
    select,
)
from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxInputError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.redaction import hide_userinfo, redact
from airflow_provider_flux.object_store.errors import is_forbidden, is_transient
from airflow_provider_flux.object_store.filesystem import open_path

#: Read from the store at a time. The default of s3fs is 50 MiB, which would be kept in memory.
_BLOCK = MIB
_BUFFER = 256 * 1024
#: Longest line of a file. A line that does not end is no row, and would fill the memory.
_LONGEST_LINE = 64 * MIB
#: Rows of a Parquet file that are in memory at a time.
_PARQUET_ROWS = 256
_SHOWN = 120

_Reader: TypeAlias = Callable[[Any, Collection[str] | None, str], Generator[Raw]]


def read_file(text: str, columns: Collection[str] | None) -> Iterator[Raw]:
    """Yield the rows of a file, whose name tells what it is.

    :param text: absolute path or URI.
    :param columns: what to read; everything by default.
    :raises FluxRequestError: if it is no such name, or the file lacks a column or is broken as a whole.
    :raises FluxInputError: if the file is not there, or could not be read; trying again may help.
    :raises FluxConfigurationError: if the store cannot be used, or pyarrow is missing.
    """
    reader, is_gzip = _reader_of(text)
    what = f"requests={hide_userinfo(text)!r}"
    path = open_path(text, field="requests")
    try:
        with ExitStack() as stack:
            file: Any = stack.enter_context(path.fs.open(path.path, "rb", block_size=_BLOCK))
            if is_gzip:
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            elif reader is not _parquet:  # the files of stores copy a whole block for each line
                file = stack.enter_context(BufferedReader(file, _BUFFER))
            yield from stack.enter_context(closing(reader(file, columns, what)))
    except FluxError:
        raise
    except Exception as error:
        raise _failure(error, what) from None


def _reader_of(text: str) -> tuple[_Reader, bool]:
    """Return how a file is read, by its name.

    :raises FluxRequestError: if the text is not the name of such a file.
    """
    name = text.lower()
    is_gzip = name.endswith(".gz")
    name = name.removesuffix(".gz")
    found = next((reader for ending, reader in _READERS.items() if name.endswith(ending)), None)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    shown = repr(redact(hide_userinfo(shown)))
    if found is None or (is_gzip and found is _parquet):
        raise FluxRequestError(
            f"requests={shown} is text. It must be {TAKEN}. A list comes from my_task.output."
        )
    if not text.startswith("/") and "://" not in text:
        raise FluxRequestError(
            f"requests={shown} is relative. Write an absolute path, or a URI like s3://bucket/key."
        )
    return found, is_gzip


def _jsonl(file: IO[bytes], columns: Collection[str] | None, what: str) -> Generator[Raw]:
    for number, line in _lines(file, what):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            yield Broken(f"line {number} is not UTF-8")
        except json.JSONDecodeError as error:
            yield Broken(f"line {number} is not JSON ({error.msg} at character {error.pos + 1})")
        except (ValueError, RecursionError) as error:
            yield Broken(f"line {number} cannot be read ({type(error).__name__})")
        else:
            yield select(row, columns)


def _csv(file: IO[bytes], columns: Collection[str] | None, what: str) -> Generator[Raw]:
    # Of the whole process, and much too low for a field with an image in it.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_LINE))
    reader = csv.reader(_text_lines(file, what), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        check_header(header, columns, what)
        places = [
            (at, name) for at, name in enumerate(header) if columns is None or name in columns
        ]
        for cells in reader:
            if not cells:
                continue
            if len(cells) == len(header):
                yield {name: cells[at] or None for at, name in places}
            else:
                yield Broken(
                    f"line {reader.line_num} has {len(cells)} cells, and the header has {len(header)}"
                )
    except csv.Error as error:
        raise FluxRequestError(f"{what}: line {reader.line_num} is not CSV ({error}).") from None


def _parquet(file: IO[bytes], columns: Collection[str] | None, what: str) -> Generator[Raw]:
    try:
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]
    except ImportError:
        raise FluxConfigurationError(
            f"{what} needs pyarrow: pip install 'airflow-provider-flux[parquet]'."
        ) from None
    # Without these it would read whole row groups ahead.
    with ParquetFile(file, pre_buffer=False, buffer_size=_BLOCK) as table:
        header = table.schema_arrow.names
        check_header(header, columns, what)
        wanted = None if columns is None else [name for name in header if name in columns]
        for batch in table.iter_batches(
            batch_size=_PARQUET_ROWS, columns=wanted, use_threads=False
        ):
            for row in batch.to_pylist():
                try:
                    yield {name: plain_value(name, value) for name, value in row.items()}
                except NotJsonError as error:
                    yield Broken(str(error))


_READERS: Mapping[str, _Reader] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _lines(file: IO[bytes], what: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise FluxRequestError(
                f"{what}: line {number} is longer than {_LONGEST_LINE // MIB} MB."
            )
        yield number, line


def _text_lines(file: IO[bytes], what: str) -> Iterator[str]:
    for number, line in _lines(file, what):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise FluxRequestError(f"{what}: line {number} is not UTF-8.") from None


def _failure(error: Exception, what: str) -> FluxError:
    """Return what reading a file has failed with, by whether trying again may help."""
    said = f"{type(error).__name__}: {redact(str(error))[:300]}"
    if isinstance(error, (gzip.BadGzipFile, zlib.error, EOFError)):
        return FluxRequestError(f"{what} is not whole, or not gzip ({said}).")
    if isinstance(error, FileNotFoundError):
        return FluxInputError(f"{what} is not there.")
    if is_forbidden(error):
        return FluxConfigurationError(
            f"{what} may not be read with the credentials of its connection."
        )
    if is_transient(error):
        return FluxInputError(f"{what} could not be read ({said}).")
    return FluxRequestError(f"{what} cannot be read ({said}).")
