"""Inputs of a batch in every format, and helpers that read them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.input.raw_rows import Column, RawValues
from airflow_provider_flux.batch.input.rows import Row, read_rows
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxError, FluxRequestError

Rows = Sequence[Mapping[str, Any]]

#: More rows than a Parquet batch holds, some without a width.
ROWS = [
    {"sku": f"s{n}", "text": f"a chair, no {n}", "width": 512 if n % 3 else None}
    for n in range(700)
]
#: The same rows as CSV gives them.
ROWS_AS_TEXT = [{**row, "width": None if row["width"] is None else "512"} for row in ROWS]
#: Parameters that are sent with every request for the default model.
DEFAULT_BODY = {
    "width": 1024,
    "height": 1024,
    "prompt_upsampling": False,
    "safety_tolerance": 2,
    "output_format": "jpeg",
}


def as_jsonl(rows: Rows) -> bytes:
    """Return the rows as JSON objects, one in each line."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def as_csv(rows: Rows) -> bytes:
    """Return the rows as CSV of the standard library, in which ``None`` is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names_of(rows))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: Rows) -> bytes:
    """Return the rows as Parquet, in row groups smaller than the batches that are read."""
    names = names_of(rows)
    complete = [{name: row.get(name) for name in names} for row in rows]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(complete), file, row_group_size=100)
    return file.getvalue()


def gzipped(write: Callable[[Rows], bytes]) -> Callable[[Rows], bytes]:
    """Return a writer that compresses what another one writes."""
    return lambda rows: gzip.compress(write(rows))


#: Writer of a file by the ending of its name.
FILES: Mapping[str, Callable[[Rows], bytes]] = {
    ".jsonl": as_jsonl,
    ".ndjson": as_jsonl,
    ".csv": as_csv,
    ".parquet": as_parquet,
    ".jsonl.gz": gzipped(as_jsonl),
    ".csv.gz": gzipped(as_csv),
}


def names_of(rows: Rows) -> list[str]:
    """Return all column names of the rows, in the order of their first use."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_file(folder: Path, name: str, content: bytes) -> str:
    """Write a file and return its path."""
    (folder / name).write_bytes(content)
    return str(folder / name)


def read_values(source: Any, columns: Collection[Column] | None = None) -> list[RawValues]:
    """Read the values of all rows of an input, before they are mapped."""
    return [row.values for row in read_raw_rows(source, columns)]


def refusal_of(
    source: Any, columns: Collection[Column] | None = None, kind: type[FluxError] = FluxRequestError
) -> str:
    """Read an input that is refused as a whole, and return the message."""
    with pytest.raises(kind) as caught:
        read_values(source, columns)
    assert type(caught.value) is kind
    return str(caught.value)


def read_all_rows(source: Any, **mapping: Any) -> list[Row]:
    """Read and check all rows of an input."""
    return list(read_rows(source, InputMapping(**mapping)))


def read_valid_row(row: Any, **mapping: Any) -> Row:
    """Read one row, which must be valid."""
    (read,) = read_all_rows([row], **mapping)
    assert read.problem is None, read.problem
    return read


def read_problem(row: Any, **mapping: Any) -> str:
    """Read one row, which must not be valid, and return its problem without the location."""
    (read,) = read_all_rows([row], **mapping)
    assert read.problem is not None
    assert read.request is None
    assert read.fallback is None
    return read.problem.removeprefix("index 0: ")


def body_of(row: Row) -> Mapping[str, Any]:
    """Return the JSON body of the request of a valid row."""
    assert row.request is not None
    return row.request.parameters


#: Strategy for short texts, among them empty ones.
SHORT_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_WORDS = SHORT_TEXT.filter(lambda text: text.strip() not in {"", "None"})


def tables_of_rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw rows with the same columns. Some have no value, and some are not valid."""
    row = {
        "prompt": st.none() | _WORDS,
        "key": st.none() | st.integers(0, 20) | _WORDS,
        "width": st.none() | st.integers(200, 1500) | st.integers(8, 45).map(lambda n: 32 * n),
        "seed": st.none() | st.integers(0, 2**40),
        "prompt_upsampling": st.none() | st.booleans(),
        "fallback_prompt": st.none() | _WORDS,
        "model": st.sampled_from([None, "flux-dev", "flux-2-pro", "flux-9"]),
    }
    columns = st.lists(st.sampled_from(list(row)), min_size=1, unique=True)
    return columns.flatmap(
        lambda names: st.lists(
            st.fixed_dictionaries({name: row[name] for name in names}), min_size=1, max_size=6
        )
    )
