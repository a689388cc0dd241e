"""The check of rows: sweeps and stable seeds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.row import Row
from airflow_provider_flux.bfl.errors import FluxRequestError
from tests.support.batch_inputs import (
    FILES,
    body_of,
    read_all_rows,
    read_problem,
    read_valid_row,
    write_file,
)


def _as_money(value: int) -> Decimal:
    return Decimal(f"{value}.00")


#: A whole number, as columns of several types have it.
NUMBER_TYPES: list[Callable[[int], Any]] = [int, float, str, Decimal, _as_money]
STYLES = {"style": ["oil", "ink"], "seed": [1, 2]}


def seed_of(row: Row) -> Any:
    return body_of(row)["seed"]


class TestSweep:
    def test_each_row_is_tried_with_each_combination(self) -> None:
        rows = read_all_rows(
            [{"key": "A", "name": "door"}, {"key": "B", "name": "gate"}],
            prompt="{name} in {style}",
            matrix=STYLES,
        )
        assert [row.key for row in rows] == [
            *("A-oil-1", "A-oil-2", "A-ink-1", "A-ink-2"),
            *("B-oil-1", "B-oil-2", "B-ink-1", "B-ink-2"),
        ]
        assert [row.index for row in rows] == list(range(8))
        assert body_of(rows[3])["prompt"] == "door in ink"
        assert seed_of(rows[3]) == 2
        assert rows[3].data == {"key": "A", "name": "door", "style": "ink", "seed": 2}

    def test_models_are_an_axis(self) -> None:
        rows = read_all_rows(["a fox"], matrix={"model": ["flux-2-pro", "flux-dev"]})
        assert [(row.key, row.model) for row in rows] == [
            ("0-flux_2_pro", "flux-2-pro"),
            ("0-flux_dev", "flux-dev"),
        ]

    def test_a_problem_names_the_combination(self) -> None:
        rows = read_all_rows(
            [{"prompt": "a"}, {"prompt": "b"}], matrix={"width": [512, 100], "seed": [1]}
        )
        assert [row.problem is None for row in rows] == [True, False, True, False]
        assert str(rows[3].problem).startswith("index 1 (width=100, seed=1): ")

    def test_an_unreadable_row_is_one_problem_and_moves_no_other_row(self) -> None:
        rows = read_all_rows([{"prompt": b"a"}, {"prompt": "b"}], matrix={"seed": [1, 2]})
        assert [(row.index, row.key) for row in rows] == [(0, "row-0"), (2, "1-1"), (3, "1-2")]

    def test_an_axis_that_the_input_has_as_a_column_is_refused(self) -> None:
        with pytest.raises(FluxRequestError, match="has values in the column 'seed'"):
            read_all_rows([{"prompt": "a", "seed": 3}], matrix={"seed": [1, 2]})
        assert len(read_all_rows([{"prompt": "a", "seed": None}], matrix={"seed": [1, 2]})) == 2

    def test_a_combination_that_changes_nothing_is_not_valid(self) -> None:
        rows = read_all_rows(
            [{"prompt": "a", "seed": 3}],
            matrix={"take": [1, 2]},
            output_path="/x/{key}-{take}.{ext}",
        )
        assert rows[0].problem is None
        assert "is the same request as with take=1" in str(rows[1].problem)
        unseeded = read_all_rows(
            ["a fox"], matrix={"take": [1, 2]}, output_path="/x/{key}-{take}.{ext}"
        )
        assert [row.problem for row in unseeded] == [None, None]

    @given(
        st.lists(st.sampled_from("abcde"), min_size=1, unique=True),
        st.lists(st.sampled_from(["oil", "oil-ink", "oil ink", "é", "1"]), min_size=1, unique=True),
    )
    def test_keys_and_requests_of_a_sweep_depend_on_no_other_row_and_no_other_value(
        self, keys: list[str], styles: list[str]
    ) -> None:
        everything = {
            row.key: row.request
            for row in read_all_rows(
                [{"key": key} for key in "abcde"],
                prompt="a fox in {style}",
                matrix={"style": ["1", "oil", "é", "oil ink", "oil-ink"]},
                seed="stable",
            )
        }
        some = read_all_rows(
            [{"key": key} for key in keys],
            prompt="a fox in {style}",
            matrix={"style": styles},
            seed="stable",
        )
        assert len({row.key for row in some}) == len(keys) * len(styles)
        assert all(everything[row.key] == row.request for row in some)


class TestStableSeed:
    def test_a_stable_seed_follows_from_key_and_request(self) -> None:
        rows = read_all_rows([{"key": key, "prompt": "a fox"} for key in "ab"], seed="stable")
        again = read_all_rows([{"key": key, "prompt": "a fox"} for key in "ba"], seed="stable")
        assert seed_of(rows[0]) == seed_of(again[1]) != seed_of(rows[1]) == seed_of(again[0])

    def test_a_row_without_a_key_has_the_seed_of_its_request(self) -> None:
        one, two = read_all_rows(["a fox", "a hare"], seed="stable")
        (moved,) = read_all_rows(["a hare"], seed="stable")
        assert seed_of(two) == seed_of(moved) != seed_of(one)

    @pytest.mark.parametrize("width", [512, 512.0, "512", Decimal("512.0")])
    def test_the_types_of_columns_do_not_change_a_stable_seed(self, width: Any) -> None:
        row = {"key": 7, "prompt": "a fox", "width": 512}
        other = read_valid_row({**row, "key": "7", "width": width}, seed="stable")
        assert seed_of(read_valid_row(row, seed="stable")) == seed_of(other)

    def test_rows_and_defaults_may_ask_for_a_stable_seed(self) -> None:
        row = {"key": "a", "prompt": "a fox"}
        expected = seed_of(read_valid_row(row, seed="stable"))
        assert seed_of(read_valid_row({**row, "seed": " Stable "})) == expected
        assert seed_of(read_valid_row(row, defaults={"seed": "stable"})) == expected
        assert seed_of(read_valid_row({**row, "seed": 7}, seed="stable")) == 7
        assert seed_of(read_valid_row(row, seed=7)) == 7
        assert "seed" not in body_of(read_valid_row(row))

    def test_a_fallback_has_a_stable_seed_of_its_own(self) -> None:
        row = read_valid_row(
            {"key": "a", "prompt": "a knife", "fallback_prompt": "a spoon"}, seed="stable"
        )
        spoon = read_valid_row({"key": "a", "prompt": "a spoon"}, seed="stable")
        assert row.fallback == spoon.request
        same = read_valid_row(
            {"key": "a", "prompt": "a knife", "fallback_prompt": "a knife"}, seed="stable"
        )
        assert same.fallback is None

    def test_a_model_without_a_seed_is_one_clear_problem(self) -> None:
        problem = read_problem({"prompt": "a fox", "model": "flux-3-image"}, seed="stable")
        assert "needs a model with the parameter seed" in problem


class TestIncremental:
    @given(
        numbers=st.lists(st.integers(0, 9999), min_size=1, max_size=6, unique=True),
        types=st.fixed_dictionaries(
            {name: st.sampled_from(NUMBER_TYPES) for name in ("key", "width", "seats", "weight")}
        ),
        order=st.randoms(use_true_random=False),
        file_type=st.sampled_from(["", ".jsonl", ".csv", ".parquet"]),
    )
    def test_requests_depend_on_no_order_of_rows_or_columns_and_on_no_type_of_a_column(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        numbers: list[int],
        types: dict[str, Callable[[int], Any]],
        order: random.Random,
        file_type: str,
    ) -> None:
        rows = [
            {
                "key": n,
                "width": 256 + 32 * (n % 9),
                "seats": n % 7,
                "weight": n * 10**9,
                "name": "é",
            }
            for n in numbers
        ]
        changed: list[dict[str, Any]] = [
            {name: types[name](value) if name in types else value for name, value in row.items()}
            for row in rows
        ]
        names = list(rows[0])
        order.shuffle(changed)
        order.shuffle(names)
        changed = [{name: row[name] for name in names} for row in changed]
        source: Any = changed
        if file_type == ".jsonl":
            changed = [_without_decimals(row) for row in changed]
        if file_type == ".csv":  # has texts, of which 7.0 is another one than 7
            changed = [{name: row[name] for name in names} for row in rows]
        if file_type:
            folder = tmp_path_factory.mktemp("rows")
            source = write_file(folder, f"rows{file_type}", FILES[file_type](changed))
        assert _requests_of(source) == _requests_of(rows)


def _requests_of(source: Any) -> dict[str, Any]:
    """Return the fingerprint of each row, which must be valid, by its key."""
    rows = read_all_rows(
        source,
        prompt="{name}: {seats} seats, {weight} g, in {style}",
        columns={"key": "key", "width": "width"},
        matrix={"style": ["oil", "ink"]},
        seed="stable",
    )
    assert [row.problem for row in rows if row.problem] == []
    return {row.key: row.request.fingerprint for row in rows if row.request}


def _without_decimals(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row that JSON can represent."""
    return {name: float(v) if isinstance(v, Decimal) else v for name, v in row.items()}
