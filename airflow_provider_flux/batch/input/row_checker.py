"""The check of each row: its values become requests, or a list of everything that is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from airflow_provider_flux.batch.input.cell_text import read_cells
from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.batch.input.mapping import (
    SPECIAL_NAMES,
    InputMapping,
    defaults_of,
    is_null_text,
)
from airflow_provider_flux.batch.input.raw_rows import RawRow, UnreadableRow, describe_unexpected
from airflow_provider_flux.batch.input.requests import RequestBuilder
from airflow_provider_flux.batch.input.row import Row, position_of
from airflow_provider_flux.batch.input.row_columns import RowColumns, TextValues
from airflow_provider_flux.batch.input.row_keys import RowKeys, parse_key
from airflow_provider_flux.batch.input.sweep import Combination
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.stable_seed import is_stable, with_stable_seed
from airflow_provider_flux.landing.output_path import fill_columns

log = logging.getLogger(__name__)


class RowChecker:
    """Maps and checks the rows of one batch, in the order of the input.

    :param mapping: way in which rows become requests, already checked.
    :param is_query: whether the rows come from a query, and need keys. Default ``False``.
    :ivar columns: the use of each column.
    """

    def __init__(self, mapping: InputMapping, *, is_query: bool = False) -> None:
        self._mapping = mapping
        self.columns = RowColumns(mapping, is_query=is_query)
        self._builder = RequestBuilder(mapping)
        self._keys = RowKeys()
        self._defaults = defaults_of(mapping)
        self._null_cells = 0
        self._first_null_cell = ""

    def check_all(self, raw_rows: Iterator[RawRow]) -> Iterator[Row]:
        """Yield the rows of the input, each with each combination of the sweep.

        :param raw_rows: the rows as they were read.
        :raises FluxRequestError: if the input as a whole is not valid.
        """
        sweep = self._mapping.sweep
        for index, raw in enumerate(raw_rows):
            values = self.columns.values_of(raw)
            if values is None:
                yield self._refuse_unreadable(index * sweep.count, raw)
                continue
            self.columns.observe(values)
            if sweep.axes:
                position, unit = position_of(index, raw.line)
                self.columns.check_axes(values, f"{unit} {position}")
            yield from self._sweep(index, raw, values)
        self.columns.check_all_found()
        self.log_null_cells()

    def _sweep(self, index: int, raw: RawRow, values: dict[Any, Any]) -> Iterator[Row]:
        """Yield a row with each combination. One that changes nothing is a problem."""
        fingerprints: dict[str, Row] = {}
        for combination in self._mapping.sweep.combinations():
            row = self._check(index, raw, values, combination)
            if combination.count > 1 and row.request and "seed" in row.request.parameters:
                first = fingerprints.setdefault(row.request.fingerprint, row)
                if first is not row:
                    row = row.with_problem(
                        f"is the same request as with {first.combination.label}, with the same "
                        "seed, so BFL would bill the same image twice"
                    )
            yield row

    def _refuse_unreadable(self, index: int, raw: RawRow) -> Row:
        assert isinstance(raw.values, UnreadableRow)  # noqa: S101 - it has no values
        count = self._mapping.sweep.count
        position, _ = position_of(index // count, raw.line)
        key = self._keys.register_stand_in(position)
        row = self._new_row(index, key, raw, Combination(0, count, {}, ""))
        return row.with_problem(raw.values.problem)

    def _new_row(
        self,
        index: int,
        key: str,
        raw: RawRow,
        combination: Combination,
        data: Mapping[str, Any] = MappingProxyType({}),
    ) -> Row:
        return Row(
            index,
            key,
            self._mapping.model,
            request=None,
            fallback=None,
            problem=None,
            line=raw.line,
            data=data,
            combination=combination,
        )

    def _check(
        self, index: int, raw: RawRow, values: dict[Any, Any], combination: Combination
    ) -> Row:
        """Return a row of the input with its requests, or with everything that is wrong with it.

        :param index: position in the input, from 0.
        :param raw: the row as it was read.
        :param values: its values by column.
        :param combination: values of the axes.
        """
        location = position_of(index, raw.line)
        parameters = self.columns.select_parameters(values, combination)
        parameters = self._without_null_texts(parameters, location)
        has_key = "key" in parameters
        problems: list[str] = []
        base_key = parameters.pop("key", index)
        key = self._read_key(base_key, combination.suffix, location, problems)
        row_index = index * combination.count + combination.number
        data: Mapping[str, Any] = {}
        try:
            data = self.columns.select_data(values, combination)
        except FluxRequestError as error:
            problems.append(error.message)
        row = self._new_row(row_index, key, raw, combination, data)
        try:
            row = self._fill_templates(row, values, parameters, problems)
            plain = {name: _to_parameter(name, value) for name, value in parameters.items()}
            seed_key = key if has_key else combination.suffix
            return _check_row(row, plain, self._defaults, self._builder, problems, seed_key)
        except NotJsonError as error:
            return row.with_problem("; ".join([*problems, str(error)]))
        except Exception as error:
            log.debug("Row %s cannot be checked", key, exc_info=True)
            return row.with_problem("; ".join([*problems, describe_unexpected(error)]))

    def _fill_templates(
        self,
        row: Row,
        values: dict[Any, Any],
        parameters: dict[str, Any],
        problems: list[str],
    ) -> Row:
        """Set the prompt of a row, and return the row with its path."""
        template, columns = self._mapping.template, self.columns
        if not (template or columns.in_path):
            return row
        named = (*columns.in_prompt, *columns.in_path)
        swept = {**values, **row.combination.values}
        cells = self._without_null_texts(
            {name: swept.get(name) for name in named}, row.place_of(None)
        )
        if template:
            try:
                parameters["prompt"] = template.fill(read_cells(columns.in_prompt, cells, "prompt"))
            except FluxRequestError as error:
                problems.append(error.message)
                parameters["prompt"] = "not sent"  # or the prompt would be missing, too
            if isinstance(values, TextValues) and "prompt" not in columns.in_prompt:
                problems.append("is a prompt, and the argument prompt does not name {prompt}")
        if columns.in_path:
            try:
                texts = read_cells(columns.in_path, cells, "output_path")
                path = fill_columns(
                    self._mapping.output_path,
                    {name: text.strip() for name, text in texts.items()},
                )
                row = replace(row, path=path)
            except FluxRequestError as error:
                problems.append(error.message)
        return row

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

    def _read_key(
        self, value: Any, suffix: str, location: tuple[int, str], problems: list[str]
    ) -> str:
        """Return the key of a row. A repeated key keeps its name, and is a problem of the row."""
        position, unit = location
        try:
            key = parse_key(value)
            key = parse_key(f"{key}{suffix}") if suffix else key
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
        self, values: dict[str, Any], location: tuple[int, str]
    ) -> dict[str, Any]:
        """Return the values with ``None`` for each text that stands for a missing value."""
        if self._mapping.keep_null_text:
            return values
        resolved = dict(values)
        for name, value in values.items():
            if isinstance(value, str) and is_null_text(value):
                position, unit = location
                resolved[name] = None
                self._null_cells += 1
                self._first_null_cell = (
                    self._first_null_cell or f"{value.strip()!r} for {name}, {unit} {position}"
                )
        return resolved


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


def _check_row(
    row: Row,
    values: dict[str, Any],
    defaults: dict[str, Any],
    builder: RequestBuilder,
    problems: list[str],
    seed_key: str,
) -> Row:
    """Return the row with its requests, or with everything that is wrong with it.

    :param problems: problems that are known already.
    :param seed_key: key from which a stable seed follows.
    """
    own = {name: value for name, value in values.items() if builder.has_value(name, value)}
    resolved = {**defaults, **own}
    model = _strip(resolved.pop("model", row.model))
    fallback_prompt = resolved.pop("fallback_prompt", None)
    fallback_model = _strip(resolved.pop("fallback_model", None))

    request = fallback = None
    try:
        parameters_of_row = [name for name in own if name not in SPECIAL_NAMES]
        has_stable_seed = is_stable(resolved.get("seed"))
        if has_stable_seed:
            del resolved["seed"]
        request = builder.build(model, resolved, parameters_of_row)
        fallback = builder.build_fallback(request, fallback_prompt, fallback_model)
        if has_stable_seed:
            request = with_stable_seed(request, seed_key)
            fallback = fallback and builder.seed_fallback(fallback, seed_key)
    except FluxRequestError as error:
        problems.append(error.message)

    model = model if isinstance(model, str) else row.model
    if problems:
        return replace(row, model=model).with_problem("; ".join(problems))
    return replace(row, model=model, request=request, fallback=fallback)


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
