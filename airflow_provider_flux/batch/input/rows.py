"""Rows of a batch: read, mapped and checked, one at a time, before the first submit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_flux.batch.input.mapping import (
    SPECIAL_NAMES,
    InputMapping,
    check_mapping,
    defaults_of,
)
from airflow_provider_flux.batch.input.raw_rows import RawRow, UnreadableRow
from airflow_provider_flux.batch.input.requests import RequestBuilder
from airflow_provider_flux.batch.input.row_keys import RowKeys, format_key
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest

_MAX_PROBLEM_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One image or video to generate, as a row of the input asks for it.

    :param index: position in the input, from 0.
    :param key: name of the row, unique in the batch: its own key, or else its index as text. A row
        whose own key cannot be used has a stand-in, for example ``row-17``.
    :param model: name of the model, also if the row is not valid.
    :param request: the checked request, ``None`` if the row is not valid. Its inputs are still the
        text that names them.
    :param fallback: the checked request to submit once if the row is moderated or its generation
        fails, ``None`` if there is none.
    :param problem: reason why the row is not valid, after its location. ``None`` if it is valid.
    :param line: line of the file where the row begins, from 1. ``None`` for a list and for Parquet.
    """

    index: int
    key: str
    model: str
    request: GenerationRequest | None
    fallback: GenerationRequest | None
    problem: str | None
    line: int | None = None

    def with_problem(self, problem: str) -> Row:
        """Return the row as one that is not valid, which is never submitted.

        :param problem: reason, as the rest of a sentence about the row.
        """
        position, unit = _position_of(self.index, self.line)
        text = f"{unit} {position}: {problem}"
        if len(text) > _MAX_PROBLEM_CHARACTERS:
            text = f"{text[:_MAX_PROBLEM_CHARACTERS]}..."
        return replace(self, request=None, fallback=None, problem=text)


def read_rows(source: Any, mapping: InputMapping) -> Iterator[Row]:
    """Read and check the rows of a batch, one at a time.

    Text counts as the number or truth value that it stands for, as text from a template does: CSV
    has only text, and exports of databases often write numbers as text.

    :param source: prompts or dicts, JSON text, or the path of a file, as for
        :func:`~airflow_provider_flux.batch.input.sources.read_raw_rows`.
    :param mapping: way in which rows become requests. It is checked at once.
    :return: rows in the order of the input. A row that is not valid has a problem.
    :raises FluxRequestError: if the mapping or the whole input is not valid. For a missing column
        that may be known only after the last row.
    :raises FluxInputError: if the file does not exist or cannot be read now. A retry may help.
    :raises FluxConfigurationError: if its store cannot be used, or pyarrow is missing.
    """
    check_mapping(mapping)
    columns = None if mapping.columns is None else list(dict.fromkeys(mapping.columns.values()))
    return _check_rows(read_raw_rows(source, columns), mapping)


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


def _check_rows(raw_rows: Iterator[RawRow], mapping: InputMapping) -> Iterator[Row]:
    builder, keys, defaults = RequestBuilder(mapping), RowKeys(), defaults_of(mapping)
    for index, raw in enumerate(raw_rows):
        position, unit = _position_of(index, raw.line)
        if isinstance(raw.values, UnreadableRow):
            key = keys.register_stand_in(index, position)
            row = Row(index, key, mapping.model, None, None, None, raw.line)
            yield row.with_problem(raw.values.problem)
            continue

        values = _map_columns(raw.values, mapping)
        problems: list[str] = []
        try:
            key = keys.register(values.pop("key", index), position, unit)
        except FluxRequestError as error:
            key = keys.register_stand_in(index, position)
            problems.append(error.message)
        row = Row(index, key, mapping.model, None, None, None, raw.line)
        yield _check_row(row, values, defaults, builder, problems)


def _map_columns(values: str | dict[str, Any], mapping: InputMapping) -> dict[str, Any]:
    """Return the values by parameter or special name.

    A column that is mapped to the key gives ``None`` if the row does not have it, so that the row
    does not get its index as key.
    """
    if isinstance(values, str):
        return {"prompt": values}
    if mapping.columns is None:
        return values
    return {name: values.get(column) for name, column in mapping.columns.items()}


def _check_row(
    row: Row,
    values: dict[str, Any],
    defaults: dict[str, Any],
    builder: RequestBuilder,
    problems: list[str],
) -> Row:
    """Return the row with its requests, or with everything that is wrong with it.

    :param problems: problems that are known already.
    """
    own = {name: value for name, value in values.items() if builder.has_value(name, value)}
    resolved = {**defaults, **own}
    model = _strip(resolved.pop("model", row.model))
    fallback_prompt = resolved.pop("fallback_prompt", None)
    fallback_model = _strip(resolved.pop("fallback_model", None))

    request = fallback = None
    try:
        parameters_of_row = [name for name in own if name not in SPECIAL_NAMES]
        request = builder.build(model, resolved, parameters_of_row)
        fallback = builder.build_fallback(request, fallback_prompt, fallback_model)
    except FluxRequestError as error:
        problems.append(error.message)

    if isinstance(model, str):
        row = replace(row, model=model)
    if problems:
        return row.with_problem("; ".join(problems))
    return replace(row, request=request, fallback=fallback)


def _position_of(index: int, line: int | None) -> tuple[int, str]:
    """Return the number that identifies a row in messages, and its unit."""
    return (index, "index") if line is None else (line, "line")


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
