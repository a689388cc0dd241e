"""The text of a cell in a prompt or in the name of an image."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.cell_text import format_cell, format_value, read_cells
from airflow_provider_flux.bfl.errors import FluxRequestError


class TestFormatCell:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, ""),
            ("a {b}", "a {b}"),
            (True, "true"),
            (1, "1"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e22, "10000000000000000000000"),
            (1e-7, "0.0000001"),
            (Decimal("1.00"), "1"),
            (Decimal("19.90"), "19.90"),
            (Decimal("1E+3"), "1000"),
        ],
    )
    def test_a_value_is_written_as_people_write_it(self, value: Any, text: str) -> None:
        assert format_cell(value) == text

    @pytest.mark.parametrize(
        "value", [[1], {"a": 1}, Decimal("1E+9999"), 10**1024, Decimal("Infinity")]
    )
    def test_a_value_without_plain_text_is_refused(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"^is "):
            format_cell(value)

    @given(st.integers(-(10**20), 10**20))
    def test_a_whole_number_has_one_text_whatever_its_type(self, number: int) -> None:
        assert format_cell(number) == format_cell(Decimal(number)) == str(number)


def test_the_text_of_a_list_or_dict_is_its_json() -> None:
    assert format_value({"b": [1], "a": "é"}) == '{"a":"é","b":[1]}'


class TestReadCells:
    def test_every_column_without_a_text_is_named(self) -> None:
        values = {"name": "a", "colour": "  ", "tags": [1]}
        with pytest.raises(FluxRequestError) as caught:
            read_cells(["name", "colour", "size", "tags"], values, "prompt")
        assert caught.value.message == (
            "column 'colour' is empty, and prompt names it; column 'size' is empty, and prompt "
            "names it; column 'tags' is a list, not text or a number, and prompt names it"
        )
