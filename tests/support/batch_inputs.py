"""The same rows in each form that a batch takes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Rows = Sequence[Mapping[str, Any]]


def as_jsonl(rows: Rows) -> bytes:
    """Return the rows as JSON objects, one a line."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def as_csv(rows: Rows) -> bytes:
    """Return the rows as CSV, as the standard library writes it: ``None`` is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names_in(rows))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: Rows) -> bytes:
    """Return the rows as Parquet, in row groups smaller than a batch that is read."""
    names = names_in(rows)
    whole = [{name: row.get(name) for name in names} for row in rows]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(whole), file, row_group_size=100)
    return file.getvalue()


def zipped(write: Callable[[Rows], bytes]) -> Callable[[Rows], bytes]:
    """Return what writes the rows compressed."""
    return lambda rows: gzip.compress(write(rows))


#: How a file with each ending is written.
FILES: Mapping[str, Callable[[Rows], bytes]] = {
    ".jsonl": as_jsonl,
    ".ndjson": as_jsonl,
    ".csv": as_csv,
    ".parquet": as_parquet,
    ".jsonl.gz": zipped(as_jsonl),
    ".csv.gz": zipped(as_csv),
}


def names_in(rows: Rows) -> list[str]:
    """Return all names of the rows, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))
