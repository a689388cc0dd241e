"""Mapping from columns of the input to parameters, with the values that all rows share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.batch.input.raw_rows import Column
from airflow_provider_flux.bfl.catalog import did_you_mean, get_model, route_of
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
_NOT_IN_DEFAULTS = {
    "key": "it must differ by row",
    "model": "pass model=... to the operator",
}


def is_null_text(text: str) -> bool:
    """Whether a text stands for a missing value, or is an error of a spreadsheet.

    :param text: text of a cell.
    """
    text = text.strip()
    return text in NULL_TEXTS or bool(_SPREADSHEET_ERROR.fullmatch(text))


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
    """

    columns: Mapping[str, Column] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    model: str = "flux-pro-1.1"
    validate: bool = True
    keep_null_text: bool = False
    output_path: str = ""
    column_names: Sequence[str] | None = None


def check_mapping(mapping: InputMapping) -> None:
    """Check a mapping before any row is read, for example when the DAG is parsed.

    :param mapping: mapping without templates.
    :raises FluxRequestError: if an argument has a wrong type, a name is unknown, or a webhook
        secret is among the names.
    """
    if mapping.validate:
        get_model(mapping.model, known_models())
    else:
        route_of(mapping.model, known_models())

    for argument, value in (("columns", mapping.columns), ("defaults", mapping.defaults)):
        if value is not None and not isinstance(value, Mapping):
            raise FluxRequestError(f"{argument} is {type(value).__name__}, not a dict.")
        for name in value or {}:
            _check_name(argument, name, mapping.validate)

    for name, column in (mapping.columns or {}).items():
        is_position = type(column) is int and column >= 0
        if not is_position and not (isinstance(column, str) and column):
            raise FluxRequestError(
                f"columns[{name!r}]={column!r} must be the name of a column, or its position from "
                "0 in rows that are lists."
            )
    if len({type(column) for column in (mapping.columns or {}).values()}) > 1:
        raise FluxRequestError("columns has names and positions. Use one of them for all columns.")
    _check_column_names(mapping)
    for name in mapping.defaults:
        if name in _NOT_IN_DEFAULTS:
            raise FluxRequestError(f"defaults cannot hold {name}: {_NOT_IN_DEFAULTS[name]}.")
    defaults_of(mapping)


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
    return {name: value for name, value in plain.items() if value is not None}


def _check_column_names(mapping: InputMapping) -> None:
    names = mapping.column_names
    if names is None:
        return
    if isinstance(names, (str, bytes)) or not isinstance(names, Sequence):
        raise FluxRequestError(
            f"column_names is {type(names).__name__}, not a list of names, for example "
            "['key', 'prompt']."
        )
    wrong = [name for name in names if not (isinstance(name, str) and name)]
    if wrong or not names:
        shown = repr(wrong[0]) if wrong else "empty"
        raise FluxRequestError(
            f"column_names is or holds {shown}. It must have the name of each value of a row."
        )
    if repeated := sorted({name for name in names if list(names).count(name) > 1}):
        raise FluxRequestError(f"column_names has {repeated[0]!r} twice. Names must differ.")
    columns = list((mapping.columns or {}).values())
    if any(isinstance(column, int) for column in columns):
        raise FluxRequestError(
            "columns has positions, and column_names has names. Write the names in columns."
        )
    if lost := [column for column in columns if column not in names]:
        raise FluxRequestError(
            f"columns names {lost[0]!r}, which column_names does not have. It has: "
            f"{', '.join(map(repr, names))}."
        )


def _check_name(argument: str, name: Any, validate: bool) -> None:
    if name == "webhook_secret":
        raise FluxRequestError(f"{argument}: {SECRET_PROBLEM}.")
    if argument == "columns" and is_webhook(str(name)):
        raise FluxRequestError(f"columns: {WEBHOOK_PROBLEM}.")
    parameters = (parameter for model in known_models().values() for parameter in model.fields)
    known = dict.fromkeys([*SPECIAL_NAMES, *parameters])
    if not isinstance(name, str) or (validate and name not in known):
        raise FluxRequestError(
            f"{argument}: {name!r} is neither a parameter of a model, nor one of "
            f"{', '.join(SPECIAL_NAMES)}.{did_you_mean(name, known)}"
        )
