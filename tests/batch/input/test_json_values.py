"""Values of other types than those of JSON."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from tests.support.batch_inputs import DEFAULT_BODY, body_of, read_problem, read_valid_row


class _Format(StrEnum):
    PNG = "png"


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("width", "512", 512),
        ("width", " 512 ", 512),
        ("width", 512.0, 512),
        ("width", Decimal("512"), 512),
        ("width", Decimal("512.0"), 512),
        ("width", np.int64(512), 512),
        ("width", np.float32(512), 512),
        ("width", pa.scalar(512), 512),
        ("prompt_upsampling", "true", True),
        ("prompt_upsampling", "False", False),
        ("prompt_upsampling", np.bool_(True), True),
        ("output_format", _Format.PNG, "png"),
        ("output_format", np.str_("png"), "png"),
        ("user", 17, "17"),
    ],
)
def test_values_are_converted_to_the_type_that_the_model_takes(
    name: str, value: Any, sent: Any
) -> None:
    read = body_of(read_valid_row({"prompt": "a", name: value}))[name]
    assert (read, type(read)) == (sent, type(sent))


@pytest.mark.parametrize(
    "value",
    [None, " ", float("nan"), np.nan, np.float64("nan"), Decimal("nan"), Decimal("sNaN"), ""],
)
def test_a_missing_value_leaves_the_default(value: Any) -> None:
    row = read_valid_row({"prompt": "a", "seed": value, "width": value})
    assert body_of(row) == {"prompt": "a", **DEFAULT_BODY}
    row = read_valid_row({"prompt": "a", "seed": value}, defaults={"seed": 3})
    assert body_of(row)["seed"] == 3


@pytest.mark.parametrize(
    "value", [True, "wide", 7.5, 33, float("inf"), b"512", {1}, [512], object(), Decimal("inf")]
)
def test_a_value_of_a_wrong_type_is_a_problem_that_names_the_parameter(value: Any) -> None:
    assert "width" in read_problem({"prompt": "a", "width": value})


def test_a_whole_number_that_no_text_can_hold_is_a_problem_of_its_row() -> None:
    assert to_json_value(10**1000) == 10**1000
    for value in (10**5000, -(10**5000), [10**5000]):
        with pytest.raises(NotJsonError, match="is too large"):
            to_json_value(value)
