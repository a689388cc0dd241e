"""Where the rows of a batch come from: a list, or a file that is never in memory as a whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_flux.batch.input.files import read_file
from airflow_provider_flux.batch.input.raw_rows import (
    SHOWN_COLUMNS,
    TAKEN,
    Broken,
    Raw,
    Selected,
    article,
    lacking,
    select,
)
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import is_path

__all__ = ["Broken", "Raw", "read_raw"]

log = logging.getLogger(__name__)


def read_raw(source: Any, columns: Collection[str] | None = None) -> Iterator[Raw]:
    """Yield the rows as they were given, one at a time.

    :param source: prompts or dicts in anything that can be iterated, the same as JSON text, or the path of a file:
        ``.jsonl`` or ``.ndjson``, ``.csv`` (UTF-8, with a header), each also with ``.gz``, or ``.parquet``.
    :param columns: what to read; everything by default.
    :raises FluxRequestError: if it is none of these, lacks a column, or is broken as a whole.
    :raises FluxInputError: if the file is not there, or could not be read; trying again may help.
    :raises FluxConfigurationError: if the store cannot be used, or pyarrow is missing.
    """
    text = str(source).strip() if isinstance(source, str) or is_path(source) else None
    if text is None or text.startswith("["):
        rows = _check_iterable(source) if text is None else _parse(text)
        return _checked(_select_all(rows, columns), columns)
    return _checked(read_file(text, columns), columns)


def _checked(rows: Iterator[Raw], columns: Collection[str] | None) -> Iterator[Raw]:
    """Refuse an input in which no row has a column that is to be read; one without rows is a quiet night.

    In a list or in JSONL that is known at the end only, which is early enough: all is read before any is paid.
    """
    missing, there, count = set(columns or ()), dict[str, None](), 0
    for row in rows:
        count += 1
        if missing and isinstance(row, Selected):
            missing -= row.keys()
            if missing and len(there) <= SHOWN_COLUMNS:
                there.update(dict.fromkeys(row.others))
        elif missing and isinstance(row, dict):
            missing.clear()  # the header has been checked
        yield row
    if not count:
        log.warning("requests has no rows")
    elif missing:
        raise lacking(missing, there)


def _check_iterable(source: Any) -> Iterable[Any]:
    """Refuse what can be iterated and gives no rows: the names of a dict's or a data frame's columns, say."""
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        raise FluxRequestError(
            "requests is a data frame: write it to a .parquet file, or give df.to_dict('records')."
        )
    unfit = isinstance(source, (Mapping, bytes, bytearray, set, frozenset))
    if unfit or not (hasattr(source, "__iter__") or hasattr(source, "__getitem__")):
        raise FluxRequestError(f"requests is {article(type(source).__name__)}. It must be {TAKEN}.")
    return source  # type: ignore[no-any-return]


def _parse(text: str) -> list[Any]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        raise FluxRequestError(
            "requests is text that begins like a list and is not JSON. In a template, write "
            "{{ ti.xcom_pull('my_task') | tojson }}; better, give requests=my_task.output"
        ) from None
    return rows  # type: ignore[no-any-return]


def _select_all(rows: Iterable[Any], columns: Collection[str] | None) -> Iterator[Raw]:
    for row in rows:
        yield select(row, columns)
