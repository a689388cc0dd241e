"""Limits for the memory that a Parquet file takes: a few hundred bytes can expand to gigabytes.

A column chunk is compressed, and its dictionary and run lengths repeat a value any number of times.
pyarrow has no limit of its own, so the metadata of the file decide before a row group is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import FluxRequestError

#: Rows that are in memory at a time, if they are small.
_MAX_BATCH_ROWS = 256
#: Bytes of the rows that are in memory at a time, unless one row has more.
_MAX_BATCH_BYTES = 8 * MIB
#: Uncompressed bytes of a column of one row group, unless the file itself is large. A page of it
#: may have them all.
_MAX_CHUNK_BYTES = 16 * MIB
_MAX_EXPANSION = 20
#: Values of a column of one row group, for each of its rows, if they are many. Lists have several.
_MAX_VALUES = 1_000_000
_MAX_VALUES_PER_ROW = 1000


def open_file(parquet_file: Any, file: Any, block_bytes: int) -> Any:
    """Open a Parquet file whose texts keep their dictionary, which repeats no text in memory.

    :param parquet_file: the class ``ParquetFile`` of pyarrow.
    :param file: open binary file.
    :param block_bytes: bytes that are read at a time. No row group is read ahead.
    """
    options = {"pre_buffer": False, "buffer_size": block_bytes}
    table = parquet_file(file, **options)
    columns = [table.schema.column(index) for index in range(len(table.schema))]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    if not texts:
        return table
    return parquet_file(file, metadata=table.metadata, read_dictionary=texts, **options)


def iterate_batches(table: Any, columns: Sequence[str], source: str) -> Iterator[Any]:
    """Yield the rows of a file in batches of limited size.

    :param table: the open ``ParquetFile``.
    :param columns: names of the columns to read.
    :param source: the argument and its value, for errors.
    :raises FluxRequestError: if a column of a row group expands too much.
    """
    for number in range(table.num_row_groups):
        group = table.metadata.row_group(number)
        chunks = [
            chunk
            for chunk in (group.column(index) for index in range(group.num_columns))
            if chunk.path_in_schema.partition(".")[0] in columns or chunk.path_in_schema in columns
        ]
        for chunk in chunks:
            _check_chunk(chunk, group.num_rows, source)
        size = sum(chunk.total_uncompressed_size for chunk in chunks)
        row_bytes = max(1, size // max(1, group.num_rows))
        rows = min(_MAX_BATCH_ROWS, max(1, _MAX_BATCH_BYTES // row_bytes))
        yield from table.iter_batches(
            batch_size=rows, row_groups=[number], columns=list(columns), use_threads=False
        )


def _check_chunk(chunk: Any, rows: int, source: str) -> None:
    size, compressed = chunk.total_uncompressed_size, chunk.total_compressed_size
    if size > max(_MAX_CHUNK_BYTES, _MAX_EXPANSION * compressed):
        raise FluxRequestError(
            f"{source}: column {chunk.path_in_schema!r} expands from {compressed} to {size} bytes "
            "in one row group. Write smaller row groups, for example "
            "df.to_parquet(path, row_group_size=10_000)."
        )
    if chunk.num_values > max(_MAX_VALUES, _MAX_VALUES_PER_ROW * rows):
        raise FluxRequestError(
            f"{source}: column {chunk.path_in_schema!r} has {chunk.num_values} values in {rows} "
            f"rows. A row may have {_MAX_VALUES_PER_ROW}."
        )
