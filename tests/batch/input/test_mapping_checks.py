"""The checks of prompt, keep_columns, matrix and seed before any row is read."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.input.mapping_checks import check_mapping
from airflow_provider_flux.bfl.errors import FluxRequestError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "{name.x}"}, "no plain name"),
        ({"prompt": "{name}", "columns": {"prompt": "text"}}, "set twice: in columns and by"),
        ({"prompt": "{name}", "defaults": {"prompt": "a"}}, "set twice: in defaults and by prompt"),
        ({"prompt": "{name}", "columns": {"key": 0}}, "columns has positions, and 'name'"),
        ({"keep_columns": "some"}, "must be 'all', or a list of names"),
        ({"keep_columns": [7]}, "must be 'all', or a list of names"),
        (
            {"keep_columns": ["index"], "output_path": "/x/{index}.{ext}"},
            "{index} in output_path is map index",
        ),
        (
            {"keep_columns": ["key"], "columns": {"key": "sku"}, "output_path": "/x/{key}.{ext}"},
            "Give the column another name",
        ),
        ({"seed": "fixed"}, "must be a whole number, or 'stable'"),
        ({"seed": 1.5}, "must be a whole number, or 'stable'"),
        ({"seed": True}, "must be a whole number, or 'stable'"),
        ({"seed": 1, "defaults": {"seed": 2}}, "set twice: in defaults and by seed"),
        ({"matrix": {"style": ["oil"]}}, "BFL would bill the same image 1 times"),
        ({"matrix": {"widht": [512, 768]}}, "Did you mean 'width'"),
        ({"matrix": {"key": ["a"]}}, "cannot have the axis 'key'"),
        ({"matrix": {"user": ["a"]}}, "cannot have the axis 'user'"),
        ({"matrix": {"webhook_url": ["https://x"]}}, "cannot have the axis 'webhook_url'"),
        ({"matrix": {"model": ["flux-9"]}}, "flux-9"),
        ({"matrix": {"seed": [1]}, "seed": 2}, "set twice: in matrix and by seed"),
        ({"matrix": {"seed": [1]}, "seed": "stable"}, "set twice: in matrix and by seed"),
        ({"matrix": {"seed": [1]}, "defaults": {"seed": 2}}, "set twice: in matrix and by default"),
        ({"matrix": {"seed": [1]}, "columns": {"seed": "s"}}, "set twice: in matrix and by column"),
        ({"matrix": {"prompt": ["a"]}, "prompt": "a fox"}, "set twice: in matrix and by prompt"),
        (
            {"matrix": {"take": [1, 2]}, "output_path": "/x/{key}-{take}.{ext}", "seed": 7},
            "only output_path names",
        ),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        check_mapping(InputMapping(**arguments))
    assert message in caught.value.message


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": "{name}", "columns": {"key": "sku"}, "matrix": {"name": ["a"]}},
        {"prompt": "{style}", "columns": {"key": 0}, "matrix": {"style": ["oil"]}},
        {"prompt": "{prompt}, {style}", "matrix": {"prompt": ["a"], "style": ["oil"]}},
        {"keep_columns": ["key", "model"], "output_path": "/x/{key}-{model}.{ext}"},
        {"matrix": {"take": [1, 2]}, "output_path": "/x/{key}-{take}.{ext}", "seed": "stable"},
        {"matrix": {"strange": [1]}, "validate": False},
        {"seed": "None"},
        {"seed": "7"},
        {"seed": -7},
    ],
)
def test_arguments_that_fit_together_are_accepted(arguments: dict[str, Any]) -> None:
    check_mapping(InputMapping(**arguments))
