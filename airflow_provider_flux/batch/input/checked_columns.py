"""Rows whose text is checked on their image: each needs the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from airflow_provider_flux.batch.input.rows import Row


def require_columns(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows; a valid one without a value in a column becomes one that is not valid.

    :param rows: the rows of the input.
    :param columns: columns of the input that must have a value.
    """
    for row in rows:
        missing = [column for column in columns if not _has_text(row.data.get(column))]
        if missing and row.request is not None:
            names = ", ".join(repr(column) for column in missing)
            yield row.with_problem(
                f"checks: the column {names} is missing or empty, so its text cannot be looked for "
                "on the image"
            )
        else:
            yield row


def _has_text(value: object) -> bool:
    return any(character.isalnum() for character in str("" if value is None else value))
