"""Checks of a mapping before any row is read, for example when the DAG is parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_flux.batch.input.mapping import (
    SECRET_PROBLEM,
    SPECIAL_NAMES,
    WEBHOOK_PROBLEM,
    InputMapping,
    defaults_of,
    is_webhook,
    parameter_names,
)
from airflow_provider_flux.bfl.catalog import did_you_mean, get_model, route_of
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.stable_seed import is_stable
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.output_path import PLACEHOLDERS, columns_in

_NOT_IN_DEFAULTS = {
    "key": "it must differ by row",
    "model": "pass model=... to the operator",
}
_WHOLE_NUMBER = re.compile(r"[-+]?\d+")
#: Names that cannot be axes of a sweep, because they do not change an image.
_NO_AXES = frozenset({"key", "fallback_prompt", "fallback_model", "user"})


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
    _check_keep_columns(mapping)
    _check_template(mapping)
    _check_positions(mapping)
    _check_seed(mapping)
    _check_axes(mapping)
    defaults_of(mapping)


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


def check_keep_columns(keep_columns: Any) -> None:
    """Check the argument ``keep_columns`` by itself.

    :param keep_columns: ``"all"``, or a list of names.
    :raises FluxRequestError: if it is neither.
    """
    is_list = isinstance(keep_columns, Sequence) and not isinstance(keep_columns, (str, bytes))
    if keep_columns == "all" or (
        is_list and all(isinstance(name, str) and name for name in keep_columns)
    ):
        return
    raise FluxRequestError(
        f"keep_columns={keep_columns!r} must be 'all', or a list of names of columns."
    )


def _check_keep_columns(mapping: InputMapping) -> None:
    check_keep_columns(mapping.keep_columns)
    if mapping.keep_columns == "all":
        return
    for name in mapping.keep_columns:
        column = name if mapping.columns is None else mapping.columns.get(name)
        is_same_value = name in (*SPECIAL_NAMES, "seed") and column == name
        if name in PLACEHOLDERS and f"{{{name}" in mapping.output_path and not is_same_value:
            raise FluxRequestError(
                f"keep_columns has {name!r}, and {{{name}}} in output_path is {PLACEHOLDERS[name]}."
                " Give the column another name."
            )


def _check_template(mapping: InputMapping) -> None:
    template = mapping.template
    if template is None:
        return
    for argument, names in (("columns", mapping.columns or {}), ("defaults", mapping.defaults)):
        if "prompt" in names:
            raise FluxRequestError(f"The prompt is set twice: in {argument} and by prompt.")


def _check_positions(mapping: InputMapping) -> None:
    """Refuse names of columns for rows that are lists, whose columns have positions only."""
    if not any(isinstance(column, int) for column in (mapping.columns or {}).values()):
        return
    kept = () if mapping.keep_columns == "all" else mapping.keep_columns
    names = [*(mapping.template.columns if mapping.template else ()), *kept]
    unknown = [name for name in names if name not in mapping.sweep.axes]
    if unknown:
        raise FluxRequestError(
            f"columns has positions, and {unknown[0]!r} in prompt or keep_columns is the name of a "
            "column. Use names in columns, too."
        )


def _check_seed(mapping: InputMapping) -> None:
    seed = mapping.own_seed
    if seed is None:
        return
    is_number = isinstance(seed, int) and not isinstance(seed, bool)
    is_text = isinstance(seed, str) and bool(_WHOLE_NUMBER.fullmatch(seed.strip()))
    if not (is_number or is_text or is_stable(seed)):
        raise FluxRequestError(f"seed={seed!r} must be a whole number, or 'stable'.")
    if "seed" in mapping.defaults:
        raise FluxRequestError("The seed is set twice: in defaults and by seed.")


def _check_axes(mapping: InputMapping) -> None:
    """Check that each axis changes the request, or at least the name, of its images."""
    in_prompt = mapping.template.columns if mapping.template else ()
    in_path = columns_in(mapping.output_path)
    set_by = {"columns": mapping.columns or {}, "defaults": mapping.defaults}
    if mapping.own_seed is not None:
        set_by["seed"] = {"seed": mapping.own_seed}
    for name, values in mapping.sweep.axes.items():
        is_parameter = _is_axis_parameter(mapping, name)
        if not is_parameter and name not in in_prompt and name not in in_path:
            hint = did_you_mean(name, [*parameter_names(), *in_prompt, *in_path])
            raise FluxRequestError(
                f"matrix has the axis {name!r}, which is no parameter of a model, and neither "
                "prompt nor output_path names it, so BFL would bill the same image "
                f"{len(values)} times.{hint}"
            )
        for argument, names in set_by.items():
            if is_parameter and name in names:
                raise FluxRequestError(f"{name} is set twice: in matrix and by {argument}.")
        has_seed = mapping.own_seed is not None and not is_stable(mapping.own_seed)
        if has_seed and not is_parameter and name not in in_prompt and len(values) > 1:
            raise FluxRequestError(
                f"matrix has the axis {name!r}, which only output_path names. With "
                f"seed={mapping.seed!r}, BFL would bill the same image {len(values)} times."
            )
        if name == "model" and mapping.validate:
            for model, _ in values:
                get_model(model, known_models())


def _is_axis_parameter(mapping: InputMapping, name: str) -> bool:
    """Whether an axis sets a parameter.

    :raises FluxRequestError: if it sets something that cannot be an axis.
    """
    if name in _NO_AXES or is_webhook(name):
        raise FluxRequestError(f"matrix cannot have the axis {name!r}: it does not change images.")
    if name == "prompt" and mapping.template:
        if name in mapping.template.columns:
            return False
        raise FluxRequestError(
            "The prompt is set twice: in matrix and by prompt. Name an axis in prompt instead."
        )
    template = mapping.template.columns if mapping.template else ()
    in_other = name in template or name in columns_in(mapping.output_path)
    return name in parameter_names() or (not mapping.validate and not in_other)


def _check_name(argument: str, name: Any, validate: bool) -> None:
    if name == "webhook_secret":
        raise FluxRequestError(f"{argument}: {SECRET_PROBLEM}.")
    if argument == "columns" and is_webhook(str(name)):
        raise FluxRequestError(f"columns: {WEBHOOK_PROBLEM}.")
    known = parameter_names()
    if not isinstance(name, str) or (validate and name not in known):
        raise FluxRequestError(
            f"{argument}: {name!r} is neither a parameter of a model, nor one of "
            f"{', '.join(SPECIAL_NAMES)}.{did_you_mean(name, known)}"
        )
