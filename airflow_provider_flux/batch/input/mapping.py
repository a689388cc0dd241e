"""Mapping from columns of the input to parameters, with the values that all rows share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.batch.input.prompt_template import PromptTemplate
from airflow_provider_flux.batch.input.raw_rows import Column
from airflow_provider_flux.batch.input.sweep import Sweep
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.configured_models import known_models

#: Names of values of a row that are not parameters of a model.
SPECIAL_NAMES = ("key", "model", "fallback_prompt", "fallback_model")
#: Texts that programs write for a missing value, and errors of spreadsheets. See also
#: :func:`is_null_text`.
NULL_TEXTS = frozenset(
    {
        *("nan", "NaN", "NAN", "-nan", "-NaN", "<NA>", "NaT", "None", "NULL", "null"),
        *("N/A", "n/a", "\\N", "#N/A", "#NA"),
        *("#NULL!", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!"),
        *("#N/D", "#NV", "#GETTING_DATA"),
    }
)
#: Error of a spreadsheet in any of its languages, for example ``#SPILL!`` or ``#¿NOMBRE?``.
_SPREADSHEET_ERROR = re.compile(r"#[¡¿]?[^\W\d_a-z]{3,}(/0)?[!?]|Err:\d{3}")
#: Problem of a row, or of ``defaults``, with a webhook secret.
SECRET_PROBLEM = "webhook_secret would be stored with the row. Set it in the connection"  # noqa: S105 - no secret
#: Problem of a row that sets a webhook, or of ``columns`` that lets rows set one.
WEBHOOK_PROBLEM = (
    "webhook_url cannot come from a row, because BFL sends results, and the secret of the "
    "connection, there. Set it in defaults"
)


def is_null_text(text: str) -> bool:
    """Whether a text stands for a missing value, or is an error of a spreadsheet.

    :param text: text of a cell.
    """
    text = text.strip()
    if text in NULL_TEXTS:
        return True
    return text.startswith(("#", "Err:")) and bool(_SPREADSHEET_ERROR.fullmatch(text))


@dataclass(frozen=True)
class InputMapping:
    """Way in which the rows of a batch become requests.

    :param columns: column of the input by parameter, or by one of :data:`SPECIAL_NAMES`. No other
        column is read then. By default each column has the name of its parameter. For rows that
        are lists: the position, from 0.
    :param defaults: values of all rows that have none of their own, by parameter or by
        ``fallback_prompt`` and ``fallback_model``.
    :param model: model of all rows that name none.
    :param validate: ``False`` accepts models and parameters that this version does not know.
    :param output_path: path of the images. Its suffix chooses the ``output_format`` of rows that
        have none.
    :param keep_null_text: keep cells of :data:`NULL_TEXTS`. By default they count as empty.
    :param column_names: names of the values of rows that are lists or tuples, in order; ``None``
        if rows have names, or ``columns`` has positions.
    :param prompt: template of the prompts over the columns of a row; ``None`` if each row has its
        own prompt.
    :param keep_columns: columns of the input to keep as data, or ``"all"``. Also placeholders of
        ``output_path``.
    :param matrix: values by axis. Each row is tried with each combination.
    :param seed: seed of rows that have none: a number, or ``"stable"``.
    :param is_table: whether the input is a table, of which some columns are no parameters.
    :param checked_columns: columns whose text checks look for on the images.
    :param keep_all_data: keep all columns that can be read, for a file of rows.
    """

    columns: Mapping[str, Column] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    model: str = "flux-pro-1.1"
    validate: bool = True
    keep_null_text: bool = False
    output_path: str = ""
    column_names: Sequence[str] | None = None
    prompt: str | None = None
    keep_columns: Literal["all"] | Sequence[str] = ()
    matrix: Mapping[str, Sequence[Any]] | None = None
    seed: int | str | None = None
    is_table: bool = False
    keep_all_data: bool = False
    checked_columns: Sequence[str] = ()

    @cached_property
    def template(self) -> PromptTemplate | None:
        """The parsed template of the prompts."""
        return None if self.prompt is None else PromptTemplate.parse(self.prompt)

    @cached_property
    def sweep(self) -> Sweep:
        """The parsed axes."""
        return Sweep.parse(self.matrix)

    @property
    def own_seed(self) -> int | str | None:
        """The seed; ``None`` also if its template has no value."""
        return None if str(self.seed).strip() in {"", "None"} else self.seed

    @property
    def columns_to_keep(self) -> Literal["all"] | Sequence[str]:
        """Columns for the manifest: ``keep_columns``, and with them the axes of the sweep."""
        if self.keep_columns == "all" or not self.keep_columns:
            return self.keep_columns
        return [*self.keep_columns, *self.sweep.axes]

    @cached_property
    def has_data_columns(self) -> bool:
        """Whether a column may be data: neither a parameter nor one of :data:`SPECIAL_NAMES`."""
        has_other = any(name not in parameter_names() for name in self.checked_columns)
        return self.is_table or self.prompt is not None or bool(self.keep_columns) or has_other


def parameter_names() -> dict[str, None]:
    """Return the special names, and the parameters of all known models."""
    parameters = (parameter for model in known_models().values() for parameter in model.fields)
    return dict.fromkeys([*SPECIAL_NAMES, *parameters])


def is_webhook(name: str) -> bool:
    """Whether a parameter sets where, or how, BFL reports a result.

    :param name: name of the parameter, as a row may write it.
    """
    return name.strip().lower().startswith("webhook")


def defaults_of(mapping: InputMapping) -> dict[str, Any]:
    """Return the defaults as plain JSON, without those that are ``None``.

    :param mapping: the mapping.
    :raises FluxRequestError: if JSON cannot represent a value.
    """
    try:
        plain = {name: to_json_value(value) for name, value in mapping.defaults.items()}
    except NotJsonError as error:
        raise FluxRequestError(f"defaults: a value {error}.") from None
    if mapping.own_seed is not None:
        plain["seed"] = mapping.own_seed
    return {name: value for name, value in plain.items() if value is not None}
