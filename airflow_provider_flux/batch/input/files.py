"""Files of rows: chosen by the ending of their name, and streamed from their store."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from io import BufferedReader
from typing import Any

from airflow_provider_flux.batch.input.csv_format import read_csv
from airflow_provider_flux.batch.input.excel_format import read_excel, split_sheet
from airflow_provider_flux.batch.input.file_formats import (
    READ_BLOCK_BYTES,
    RowFormat,
    read_jsonl,
    read_parquet,
)
from airflow_provider_flux.batch.input.raw_rows import Column, RawRow
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxInputError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.redaction import hide_userinfo, redact
from airflow_provider_flux.object_store.errors import (
    describe_error,
    find_code,
    is_forbidden,
    is_transient,
)
from airflow_provider_flux.object_store.filesystem import open_path

#: Values that ``requests`` may have, for error messages.
ACCEPTED_SOURCES = (
    "a list of prompts or of dicts, the .output of a task that returns one, or the absolute path "
    "or URI (s3://my_conn@bucket/key) of a .jsonl, .csv, .parquet or .xlsx file"
)
#: What to do with a file of another format, by the ending of its name.
_REMEDIES = {
    **dict.fromkeys((".xls", ".xlsm", ".xlsb", ".ods", ".numbers"), "Save it as .xlsx"),
    ".txt": "If it is CSV, give it a name that ends in .csv",
    ".json": "Write each row in a line of its own, for example with jq -c '.[]' to a .jsonl file",
    **dict.fromkeys((".zip", ".bz2", ".zst", ".xz"), "Unpack it, or compress it with gzip (.gz)"),
    **dict.fromkeys((".avro", ".orc", ".feather", ".arrow", ".pkl"), "Write it as .parquet"),
}
_FORMATS: dict[str, RowFormat] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".xlsx": read_excel,
}
#: Formats that read a file in any order. Each has a compression of its own.
_SEEKING = (read_parquet, read_excel)
_BUFFER_BYTES = 256 * 1024
_MAX_SHOWN_CHARACTERS = 120


def read_input_file(
    text: str, columns: Collection[Column] | None, column_names: Sequence[str] | None = None
) -> Iterator[RawRow]:
    """Read the rows of a file, whose format follows from the ending of its name.

    :param text: absolute path or URI. That of a workbook may end in ``#`` and the name of a sheet.
    :param columns: names to read, ``None`` for all.
    :param column_names: names of the values of lines of JSONL that are lists; ``None`` for none.
    :return: the rows in the order of the file.
    :raises FluxRequestError: if the text is not the path of such a file, or the file lacks a column
        or is broken as a whole.
    :raises FluxInputError: if the file does not exist or cannot be read now. A retry may help.
    :raises FluxConfigurationError: if the store cannot be used, or a package is missing.
    """
    source = f"requests={hide_userinfo(text)!r}"
    text, sheet = split_sheet(text)
    row_format, is_gzip = _format_of(text)
    read_rows = _with_options(row_format, sheet, column_names, source)
    path = open_path(text, field="requests")
    try:
        with ExitStack() as stack:
            file: Any = stack.enter_context(
                path.fs.open(path.path, "rb", block_size=READ_BLOCK_BYTES)
            )
            if is_gzip:
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            elif row_format not in _SEEKING:
                # Without a buffer, the files of fsspec copy a whole block for each line.
                file = stack.enter_context(BufferedReader(file, _BUFFER_BYTES))
            yield from stack.enter_context(closing(read_rows(file, columns, source)))
    except FluxError:
        raise
    except Exception as error:
        raise _translate_error(error, source) from None


def _with_options(
    row_format: RowFormat, sheet: str, column_names: Sequence[str] | None, source: str
) -> RowFormat:
    """Return the reader of a format, with the options that only some formats have.

    :raises FluxRequestError: if the format has names of its own.
    """
    if column_names is not None and row_format is not read_jsonl:
        raise FluxRequestError(
            f"{source} has a header with the names of its columns, so it takes no column_names. "
            "They are for rows that are lists."
        )
    if row_format is read_jsonl:
        return partial(read_jsonl, column_names=column_names)
    return partial(read_excel, sheet=sheet) if row_format is read_excel else row_format


def _format_of(text: str) -> tuple[RowFormat, bool]:
    """Return the format of a file, and whether it is gzipped.

    :raises FluxRequestError: if the text is not an absolute path or URI with a known ending.
    """
    name = text.lower()
    is_gzip = name.endswith(".gz")
    name = name.removesuffix(".gz")
    row_format = next((read for ending, read in _FORMATS.items() if name.endswith(ending)), None)

    is_long = len(text) > _MAX_SHOWN_CHARACTERS
    shown = f"{text[:_MAX_SHOWN_CHARACTERS]}..." if is_long else text
    shown = repr(redact(hide_userinfo(shown)))
    ending = next((ending for ending in _REMEDIES if name.endswith(ending)), None)
    if ending:
        raise FluxRequestError(
            f"requests={shown} ends in {ending}, which is not supported. "
            f"{_REMEDIES[ending]}. It must be {ACCEPTED_SOURCES}."
        )
    if row_format is None or (is_gzip and row_format in _SEEKING):
        raise FluxRequestError(
            f"requests={shown} is text. It must be {ACCEPTED_SOURCES}. "
            "Pass my_task.output for the list that a task returns."
        )
    if not text.startswith("/") and "://" not in text:
        raise FluxRequestError(
            f"requests={shown} is relative. Write an absolute path, or a URI like s3://bucket/key."
        )
    return row_format, is_gzip


def _translate_error(error: Exception, source: str) -> FluxError:
    """Return the error of this package for a file that could not be read."""
    reason = describe_error(error)
    if isinstance(error, (gzip.BadGzipFile, zlib.error, EOFError)):
        return FluxRequestError(f"{source} is truncated or not gzip ({reason}).")
    if isinstance(error, FileNotFoundError):
        return FluxInputError(f"{source} does not exist{_code_in_brackets(error)}.")
    if is_forbidden(error):
        return FluxConfigurationError(
            f"{source} is forbidden{_code_in_brackets(error)}. Check the credentials of its "
            "connection, and allow them to read it."
        )
    if is_transient(error):
        return FluxInputError(f"{source} could not be read ({reason}).")
    return FluxRequestError(f"{source} cannot be read ({reason}).")


def _code_in_brackets(error: Exception) -> str:
    """Return the error code of the store in brackets; an empty text without one."""
    code = find_code(error)
    return f" ({code})" if code else ""
