"""The columns of the input: parameters, data, and names in templates."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.batch.input.row_columns import MAX_DATA_CHARACTERS
from airflow_provider_flux.bfl.errors import FluxRequestError
from tests.support.batch_inputs import (
    FILES,
    body_of,
    read_all_rows,
    read_problem,
    read_valid_row,
    write_file,
)

PRODUCT = {"sku": "A-7", "name": "door", "colour": "red", "price": 19.5, "width": 512}
TEMPLATE = "Photo of {name}, {colour}"


def refusal(source: Any, **mapping: Any) -> str:
    with pytest.raises(FluxRequestError) as caught:
        read_all_rows(source, **mapping)
    return caught.value.message


class TestData:
    def test_with_a_template_other_columns_are_data_and_parameters_stay_parameters(self) -> None:
        row = read_valid_row(PRODUCT, prompt=TEMPLATE)
        assert body_of(row)["prompt"] == "Photo of door, red"
        assert body_of(row)["width"] == 512
        assert row.data == {"name": "door", "colour": "red", "width": 512}

    def test_without_a_template_a_mistyped_parameter_is_still_refused(self) -> None:
        assert "'widht' is not a parameter" in read_problem({"prompt": "a fox", "widht": 512})

    def test_a_column_with_nearly_the_name_of_a_parameter_is_warned_of_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        rows = [{"name": "a", "widht": 512}, {"name": "b", "widht": 512}]
        read_all_rows(rows, prompt="{name}")
        assert caplog.text.count("The column 'widht' is no parameter") == 1
        assert "Did you mean 'width'?" in caplog.text
        assert "'name'" not in caplog.text

    def test_a_declared_column_is_not_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        read_all_rows([{"name": "a", "widht": 512}], prompt="{name}", keep_columns=["widht"])
        assert "widht" not in caplog.text

    @pytest.mark.parametrize("ending", FILES)
    def test_mapped_named_and_kept_columns_are_read_from_every_format(
        self, tmp_path: Path, ending: str
    ) -> None:
        path = write_file(tmp_path, f"rows{ending}", FILES[ending]([PRODUCT]))
        (row,) = read_all_rows(
            path, columns={"key": "sku"}, prompt="{name}", keep_columns=["colour"]
        )
        assert (row.key, row.problem) == ("A-7", None)
        assert row.data == {"sku": "A-7", "name": "door", "colour": "red"}

    def test_all_columns_are_kept_on_request(self) -> None:
        for more in ({"keep_columns": "all"}, {"keep_all_data": True}):
            row = read_valid_row(PRODUCT, columns={"prompt": "name"}, **more)
            assert row.data == PRODUCT
            assert body_of(row)["width"] == 1024

    def test_a_row_with_too_much_data_is_not_valid(self) -> None:
        row = {"name": "a", "notes": "x" * MAX_DATA_CHARACTERS}
        assert "other columns have" in read_problem(row, prompt="{name}", keep_columns="all")
        read_valid_row(row, prompt="{name}")

    def test_a_row_that_is_a_prompt_has_the_column_prompt(self) -> None:
        assert body_of(read_valid_row("a fox", prompt="{prompt}, in oil"))["prompt"] == (
            "a fox, in oil"
        )
        assert "does not name {prompt}" in read_problem("a fox", prompt="a hare")

    def test_a_column_prompt_is_data_beside_a_template(self) -> None:
        row = read_valid_row({"prompt": "old", "name": "a door"}, prompt="{name}")
        assert body_of(row)["prompt"] == "a door"

    def test_a_row_cannot_set_a_webhook_beside_a_template(self) -> None:
        row = {"name": "a", "webhook_url": "https://example.com"}
        assert "webhook_url cannot come from a row" in read_problem(row, prompt="{name}")


class TestMissingColumns:
    def test_a_missing_or_empty_column_is_the_problem_of_its_row(self) -> None:
        rows = [PRODUCT, {"sku": "B", "name": "gate"}, {"name": "n/a", "colour": "  "}]
        problems = [row.problem for row in read_all_rows(rows, prompt=TEMPLATE)]
        assert problems == [
            None,
            "index 1: column 'colour' is empty, and prompt names it",
            "index 2: column 'name' is empty, and prompt names it; column 'colour' is empty, and "
            "prompt names it",
        ]

    @pytest.mark.parametrize("columns", [None, {"key": "sku"}])
    def test_a_column_that_no_row_has_is_an_error_of_the_input(self, columns: Any) -> None:
        message = refusal([PRODUCT], prompt="{nmae}", columns=columns)
        assert "requests has no column 'nmae', which prompt names" in message
        assert "It has: 'sku', 'name', 'colour', 'price', 'width'" in message

    def test_the_error_names_the_argument_that_names_the_column(self, tmp_path: Path) -> None:
        path = write_file(tmp_path, "rows.csv", FILES[".csv"]([PRODUCT]))
        message = refusal(path, columns={"key": "sku"}, prompt="{name}", keep_columns=["size"])
        assert "has no column 'size', which keep_columns names" in message


class TestPath:
    def test_a_kept_column_is_a_placeholder_whose_values_are_safe(self) -> None:
        (row, *others) = read_all_rows(
            [{"prompt": "a", "category": "Doors/../x {key}"}, {"prompt": "b", "category": None}],
            keep_columns=["category"],
            output_path="/x/{category}/{index:03d}-{key}.{ext}",
        )
        assert row.path == "/x/Doors_.._x__key_/{index:03d}-{key}.{ext}"
        assert others[0].problem == (
            "index 1: column 'category' is empty, and output_path names it"
        )

    def test_a_row_without_columns_in_its_path_has_the_path_of_the_batch(self) -> None:
        row = read_valid_row(PRODUCT, prompt="{name}", output_path="/x/{key}.{ext}")
        assert row.path is None
