"""Rows of a batch: read, mapped and checked, one at a time, before the first submit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.batch.input.mapping import (
    SPECIAL_NAMES,
    InputMapping,
    check_mapping,
    defaults_of,
    is_null_text,
)
from airflow_provider_flux.batch.input.raw_rows import (
    RawRow,
    RawValues,
    UnreadableRow,
    as_data,
    describe_unexpected,
)
from airflow_provider_flux.batch.input.requests import RequestBuilder
from airflow_provider_flux.batch.input.row_keys import RowKeys, format_key, parse_key
from airflow_provider_flux.batch.input.sources import read_raw_rows
from airflow_provider_flux.batch.input.sql import SqlQuery
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest

log = logging.getLogger(__name__)

_MAX_PROBLEM_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One image or video to generate, as a row of the input asks for it.

    :param index: position in the input, from 0.
    :param key: name of the row: its own key, or else its index as text. It is unique among the
        valid rows; a row that repeats a key is not valid and keeps it. A row without a usable key
        has a stand-in with its line of the file, or else its index, for example ``row-17``.
    :param model: name of the model, also if the row is not valid.
    :param request: the checked request, ``None`` if the row is not valid. Its inputs are still the
        text that names them.
    :param fallback: the checked request to submit once if the row is moderated or its generation
        fails, ``None`` if there is none.
    :param problem: reason why the row is not valid, after its location. ``None`` if it is valid.
    :param line: line of the file where the row begins, from 1. ``None`` for a list and for Parquet.
    :param data: values of the row as it was read, as plain JSON by the columns of the input.
    """

    index: int
    key: str
    model: str
    request: GenerationRequest | None
    fallback: GenerationRequest | None
    problem: str | None
    line: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

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
    columns = None if mapping.columns is None else list(dict.fromkeys(mapping.columns.values()))
    raw_rows = read_raw_rows(source, columns, mapping.column_names)
    return _check_rows(raw_rows, mapping, needs_key=isinstance(source, SqlQuery))


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


class _RowChecker:
    """Maps and checks the rows of one batch, in the order of the input.

    :param mapping: way in which rows become requests, already checked.
    """

    def __init__(self, mapping: InputMapping) -> None:
        self._mapping = mapping
        self._builder = RequestBuilder(mapping)
        self._keys = RowKeys()
        self._defaults = defaults_of(mapping)
        self._null_cells = 0
        self._first_null_cell = ""

    def check(self, index: int, raw: RawRow) -> Row:
        """Return a row of the input with its requests, or with everything that is wrong with it.

        :param index: position in the input, from 0.
        :param raw: the row as it was read.
        """
        position, unit = _position_of(index, raw.line)
        if isinstance(raw.values, UnreadableRow):
            row = self._new_row(index, self._keys.register_stand_in(position), raw)
            return row.with_problem(raw.values.problem)

        values = self._without_null_texts(_map_columns(raw.values, self._mapping), index, raw)
        problems: list[str] = []
        key = self._read_key(values.pop("key", index), position, unit, problems)
        row = self._new_row(index, key, raw)
        try:
            plain = {name: _to_parameter(name, value) for name, value in values.items()}
            return _check_row(row, plain, self._defaults, self._builder, problems)
        except NotJsonError as error:
            return row.with_problem("; ".join([*problems, str(error)]))
        except Exception as error:
            log.debug("Row %s cannot be checked", key, exc_info=True)
            return row.with_problem("; ".join([*problems, describe_unexpected(error)]))

    def log_null_cells(self) -> None:
        """Log how many cells had a text for a missing value."""
        if self._null_cells:
            log.warning(
                "%d %s text for a missing value and %s as empty. The first is %s. To keep such "
                "texts, set keep_null_text=True.",
                self._null_cells,
                "cell has" if self._null_cells == 1 else "cells have",
                "counts" if self._null_cells == 1 else "count",
                self._first_null_cell,
            )

    def _new_row(self, index: int, key: str, raw: RawRow) -> Row:
        data = {} if isinstance(raw.values, UnreadableRow) else as_data(raw.values)
        return Row(index, key, self._mapping.model, None, None, None, raw.line, data)

    def _read_key(self, value: Any, position: int, unit: str, problems: list[str]) -> str:
        """Return the key of a row. A repeated key keeps its name, and is a problem of the row."""
        try:
            key = parse_key(value)
        except FluxRequestError as error:
            problems.append(error.message)
            return self._keys.register_stand_in(position)
        except Exception as error:
            problems.append(f"key {describe_unexpected(error)}")
            return self._keys.register_stand_in(position)
        try:
            self._keys.register(key, position, unit)
        except FluxRequestError as error:
            problems.append(error.message)
        return key

    def _without_null_texts(
        self, values: dict[str, Any], index: int, raw: RawRow
    ) -> dict[str, Any]:
        """Return the values with ``None`` for each text that stands for a missing value."""
        if self._mapping.keep_null_text:
            return values
        resolved = dict(values)
        for name, value in values.items():
            if isinstance(value, str) and is_null_text(value):
                position, unit = _position_of(index, raw.line)
                resolved[name] = None
                self._null_cells += 1
                self._first_null_cell = (
                    self._first_null_cell or f"{value.strip()!r} for {name}, {unit} {position}"
                )
        return resolved


def _check_rows(
    raw_rows: Iterator[RawRow], mapping: InputMapping, *, needs_key: bool
) -> Iterator[Row]:
    checker = _RowChecker(mapping)
    for index, raw in enumerate(raw_rows):
        if needs_key:
            _check_has_key(raw.values, mapping)
        yield checker.check(index, raw)
    checker.log_null_cells()


def _check_has_key(values: RawValues, mapping: InputMapping) -> None:
    """Refuse rows of a query without a key: in another order, a retry would pay for them again.

    :raises FluxRequestError: if neither the query nor ``columns`` has one.
    """
    if isinstance(values, dict) and "key" not in (mapping.columns or values):
        raise FluxRequestError(
            "sql has no key, and a table has no order by which a retry finds its rows again. Map "
            "the column that identifies a row, for example columns={'key': 'sku', 'prompt': "
            "'description'}, or name it in the query: SELECT sku AS key."
        )


def _to_parameter(name: str, value: Any) -> Any:
    """Return plain JSON for a ``Decimal``, whose digits only a key needs, and other values as is.

    :raises NotJsonError: if the number is too large.
    """
    if not isinstance(value, Decimal):
        return value
    try:
        return to_json_value(value)
    except NotJsonError as error:
        raise NotJsonError(f"{name} {error}") from None


def _map_columns(values: str | dict[Any, Any], mapping: InputMapping) -> dict[str, Any]:
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
