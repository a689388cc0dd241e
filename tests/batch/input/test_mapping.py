"""Columns, defaults and the model of a batch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.mapping import SPECIAL_NAMES, InputMapping
from airflow_provider_flux.batch.input.rows import read_rows
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.configured_models import known_models
from tests.support.batch_inputs import body_of, read_all_rows, read_valid_row


@given(st.permutations(["prompt", "key", "width", "model"]), st.integers(0, 3))
def test_only_the_mapped_columns_are_read(names: list[str], more: int) -> None:
    values = {"prompt": "a chair", "key": "k1", "width": 512, "model": "flux-dev"}
    columns = {name: f"column {position}" for position, name in enumerate(names)}
    row = {columns[name]: value for name, value in values.items()} | {
        f"more {n}": object() for n in range(more)
    }
    (read,) = read_all_rows([row], columns=columns)
    assert (read.key, read.model, read.problem) == ("k1", "flux-dev", None)
    assert body_of(read)["prompt"] == "a chair"
    assert body_of(read)["width"] == 512


def test_one_column_may_set_several_parameters() -> None:
    row = read_valid_row(
        {"side": 512, "sku": "s1"},
        columns={"width": "side", "height": "side", "key": "sku", "prompt": "sku"},
    )
    assert (row.key, body_of(row)["prompt"]) == ("s1", "s1")
    assert (body_of(row)["width"], body_of(row)["height"]) == (512, 512)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"model": "flux-9"}, "is not a known FLUX model"),
        ({"model": "../v1", "validate": False}, "cannot be a route"),
        ({"columns": ["prompt"]}, "columns is list, not a dict"),
        (
            {"columns": {"promt": "text"}},
            "columns: 'promt' is neither a parameter of a model, nor one of",
        ),
        ({"columns": {"prompt": -5}}, "columns['prompt']=-5 must be the name of a column"),
        ({"columns": {"prompt": True}}, "columns['prompt']=True must be the name of a column"),
        ({"columns": {"prompt": 0, "key": "sku"}}, "columns has names and positions"),
        ({"columns": {"webhook_secret": "s"}}, "columns: webhook_secret would be stored"),
        ({"columns": {"webhook_url": "s"}}, "columns: webhook_url cannot come from a row"),
        ({"defaults": ["a"]}, "defaults is list, not a dict"),
        ({"defaults": {"widht": 5}}, "Did you mean 'width'"),
        ({"defaults": {"webhook_secret": "hunter2"}}, "defaults: webhook_secret would be stored"),
        (
            {"defaults": {"webhook_secret": "hunter2"}, "validate": False},
            "defaults: webhook_secret would be stored",
        ),
        ({"defaults": {"key": "a"}}, "defaults cannot hold key"),
        ({"defaults": {"model": "flux-dev"}}, "defaults cannot hold model"),
        ({"defaults": {"seed": object()}}, "defaults: a value has type object"),
    ],
)
def test_an_invalid_mapping_is_refused_before_a_row_is_read(
    mapping: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        read_rows(iter([1 / 1]), InputMapping(**mapping))
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_special_names_are_not_parameters_of_any_model() -> None:
    fields = {name for model in known_models().values() for name in model.fields}
    assert not fields & set(SPECIAL_NAMES)
