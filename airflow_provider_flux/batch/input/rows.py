"""Rows of a batch: read, mapped and checked, one at a time, before the first submit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.input.mapping_checks import check_mapping
from airflow_provider_flux.batch.input.row import Row
from airflow_provider_flux.batch.input.row_checker import RowChecker
from airflow_provider_flux.batch.input.row_keys import format_key
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.batch.input.sql import SqlQuery

__all__ = ["Row", "describe_problems", "read_rows"]


def read_rows(source: Any, mapping: InputMapping) -> Iterator[Row]:
    """Read and check the rows of a batch, one at a time.

    Text counts as the number or truth value that it stands for, as text from a template does: CSV
    has only text, and exports of databases often write numbers as text.

    :param source: prompts or dicts, JSON text, a query, or the path of a file, as for
        :func:`~airflow_provider_flux.batch.input.sources.read_raw_rows`.
    :param mapping: way in which rows become requests. It is checked at once.
    :return: rows in the order of the input. A row that is not valid has a problem.
    :raises FluxRequestError: if the mapping or the whole input is not valid. For a missing column
        that may be known only after the last row.
    :raises FluxInputError: if the file does not exist, or file or database cannot be read now. A
        retry may help.
    :raises FluxConfigurationError: if store or database cannot be used, or a package is missing.
    """
    check_mapping(mapping)
    checker = RowChecker(mapping, is_query=isinstance(source, SqlQuery))
    raw_rows = read_raw_rows(source, checker.columns.to_read, mapping.column_names)
    return checker.check_all(raw_rows)


def describe_problems(rows: Iterable[Row], max_listed: int = 20) -> str:
    """Describe all rows that are not valid, in one message.

    :param rows: any rows. Valid ones are skipped.
    :param max_listed: rows that the message lists. It counts the others.
    :return: a line for the number of rows, then one for each row. Empty text if all rows are valid.
    """
    lines: list[str] = []
    count = 0
    for row in rows:
        if row.problem is None:
            continue
        count += 1
        if count <= max_listed:
            lines.append(f"key {format_key(row.key)}, {row.problem}")
    if not count:
        return ""
    if count > max_listed:
        lines.append(f"... and {count - max_listed} more")
    return "\n".join([f"{count} {'row is' if count == 1 else 'rows are'} not valid:", *lines])
