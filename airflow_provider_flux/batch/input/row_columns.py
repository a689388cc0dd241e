"""The columns of the input: which are read, which are parameters, and which are data."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_flux.batch.input.mapping import (
    InputMapping,
    is_webhook,
    parameter_names,
)
from airflow_provider_flux.batch.input.raw_rows import (
    MAX_LISTED_COLUMNS,
    Column,
    RawRow,
    UnreadableRow,
    as_data,
    missing_columns_error,
)
from airflow_provider_flux.batch.input.sweep import WHOLE_ROW, Combination
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.landing.output_path import columns_in

log = logging.getLogger(__name__)

#: Characters of the columns of a row that are kept although no request needs them.
MAX_DATA_CHARACTERS = 262_144
#: Names of columns that are compared with those of parameters.
_MAX_COMPARED_NAMES = 500
#: Likeness of two names, from 0 to 1, of which one may be a mistyped form of the other.
_MIN_LIKENESS = 0.8


class TextValues(dict[Any, Any]):
    """Values of a row that is a prompt, whatever ``columns`` says."""


class RowColumns:
    """The use of each column of one batch.

    :param mapping: mapping of the batch, already checked.
    :param is_query: whether the rows come from a query, and need keys. Default ``False``.
    """

    def __init__(self, mapping: InputMapping, *, is_query: bool = False) -> None:
        self._mapping = mapping
        self._is_query = is_query
        self._parameters = parameter_names()
        self.in_prompt = mapping.template.columns if mapping.template else ()
        self.in_path = tuple(columns_in(mapping.output_path)) if mapping.output_path else ()
        #: Columns that at least one row must have, with the argument that names each.
        self.needed = self._find_needed()
        self._missing = dict(self.needed)
        self._available: dict[str, None] = {}
        self._compared: set[str] = set()
        self._has_values = False

    def _find_needed(self) -> dict[Column, str]:
        mapping = self._mapping
        needed: dict[Column, str] = dict.fromkeys((mapping.columns or {}).values(), "columns")
        if self._has_positions:
            return needed
        kept = () if mapping.keep_columns == "all" else mapping.keep_columns
        others = [("prompt", self.in_prompt), ("keep_columns", kept), ("output_path", self.in_path)]
        others.append(("checks", tuple(mapping.checked_columns)))
        for argument, names in others:
            for name in names:
                if name not in mapping.sweep.axes:
                    needed.setdefault(name, argument)
        return needed

    @property
    def _has_positions(self) -> bool:
        return any(isinstance(column, int) for column in (self._mapping.columns or {}).values())

    @property
    def _keeps_all(self) -> bool:
        return self._mapping.keep_columns == "all" or self._mapping.keep_all_data

    @property
    def to_read(self) -> Collection[Column] | None:
        """The columns to read, with the argument that names each; ``None`` for all."""
        if self._mapping.columns is None or (self._keeps_all and not self._has_positions):
            return None
        return self.needed

    def values_of(self, raw: RawRow) -> dict[Any, Any] | None:
        """Return the values of a row by column; ``None`` if it cannot be read.

        :param raw: the row as it was read.
        """
        if isinstance(raw.values, UnreadableRow):
            return None
        return TextValues(prompt=raw.values) if isinstance(raw.values, str) else raw.values

    def observe(self, values: Mapping[Any, Any]) -> None:
        """Note the columns of a row, and warn about one that is nearly the name of a parameter.

        :param values: values of the row by column.
        :raises FluxRequestError: if it is a row of a query without a key. In another order, a retry
            would pay for such rows again.
        """
        if self._is_query and "key" not in (self._mapping.columns or values):
            raise FluxRequestError(
                "sql has no key, and a table has no order by which a retry finds its rows again. "
                "Map the column that identifies a row, for example columns={'key': 'sku', "
                "'prompt': 'description'}, or name it in the query: SELECT sku AS key."
            )
        self._has_values = True
        for name in [name for name in self._missing if name in values]:
            del self._missing[name]
        if self._missing and len(self._available) <= MAX_LISTED_COLUMNS:
            self._available.update(dict.fromkeys(map(str, list(values)[:MAX_LISTED_COLUMNS])))
        if self._mapping.columns is None and self._mapping.has_data_columns:
            for name in values:
                if name not in self._compared and len(self._compared) < _MAX_COMPARED_NAMES:
                    self._compared.add(name)
                    self._warn_of_near_miss(name)

    def check_all_found(self) -> None:
        """Check that at least one row had each column that an argument names.

        :raises FluxRequestError: naming the first missing columns and the available ones.
        """
        if self._missing and self._has_values:
            raise missing_columns_error(
                list(self._missing),
                self._available,
                subject="sql" if self._is_query else "requests",
                requested=self.needed,
            )

    def check_axes(self, values: Mapping[Any, Any], location: str) -> None:
        """Check that a row has no value of its own for an axis.

        :param values: values of the row by column.
        :param location: place of the row, for the error.
        :raises FluxRequestError: if it has one, which the sweep would ignore.
        """
        for name in self._mapping.sweep.axes:
            if values.get(name) not in (None, ""):
                raise FluxRequestError(
                    f"matrix has the axis {name!r}, and the input has values in the column "
                    f"{name!r} ({location}). Rename the column, or remove the axis. For rows that "
                    "an earlier sweep has written, leave matrix out."
                )

    def select_parameters(
        self, values: Mapping[Any, Any], combination: Combination = WHOLE_ROW
    ) -> dict[str, Any]:
        """Return the values by parameter or special name, those of the axes among them.

        A column that is mapped to the key gives ``None`` if the row does not have it, so that the
        row does not get its index as key.

        :param values: values of the row by column.
        :param combination: the values of the axes.
        """
        mapping = self._mapping
        if isinstance(values, TextValues):
            selected = {} if mapping.template else dict(values)
        elif mapping.columns is not None:
            selected = {name: values.get(column) for name, column in mapping.columns.items()}
        elif mapping.has_data_columns:
            selected = {name: values[name] for name in values if self._is_parameter(name)}
        else:
            selected = dict(values)
        axes = {
            name: value
            for name, value in combination.values.items()
            if self._is_parameter(name) or name not in (*self.in_prompt, *self.in_path)
        }
        return selected | axes

    def select_data(
        self, values: Mapping[Any, Any], combination: Combination = WHOLE_ROW
    ) -> dict[str, Any]:
        """Return the values to keep with the row, those of the axes among them.

        :param values: values of the row by column.
        :param combination: the values of the axes.
        :raises FluxRequestError: if the columns that no request needs are too large.
        """
        is_plain = self._mapping.columns is None and not self._mapping.has_data_columns
        used = {
            name
            for name in values
            if is_plain
            or name in self.needed
            or (self._mapping.columns is None and self._is_parameter(name))
        }
        others = [name for name in values if name not in used] if self._keeps_all else []
        size = sum(_size_of(name) + _size_of(values[name]) for name in others)
        if size > MAX_DATA_CHARACTERS:
            raise FluxRequestError(
                f"its other columns have {size} characters, more than {MAX_DATA_CHARACTERS}. Name "
                "the columns to read in columns and keep_columns"
            )
        kept = used.union(others)
        data = as_data({name: value for name, value in values.items() if name in kept})
        return data | dict(combination.values)

    def _is_parameter(self, name: str) -> bool:
        if name == "prompt" and self._mapping.template:
            return False
        return name in self._parameters or is_webhook(str(name))

    def _warn_of_near_miss(self, name: Any) -> None:
        if name == "prompt" and self._mapping.template and name not in self.in_prompt:
            log.warning("The column 'prompt' is data: the argument prompt makes the prompts")
        if not isinstance(name, str) or self._is_parameter(name) or name in self.needed:
            return
        near = difflib.get_close_matches(name[:60].lower(), self._parameters, 1, _MIN_LIKENESS)
        if near:
            log.warning(
                "The column %r is no parameter, so requests do not use it. Did you mean %r?",
                name[:60],
                near[0],
            )


def _size_of(value: Any) -> int:
    """Return about how many characters a value has as JSON."""
    if isinstance(value, (dict, list)):
        return len(json.dumps(value, default=str))
    return len(value) if isinstance(value, str) else 8
