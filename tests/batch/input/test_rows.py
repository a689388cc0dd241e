"""Rows of a batch, whatever they are read from."""

from __future__ import annotations

import json
import re
import tempfile
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.mapping import NULL_TEXTS, InputMapping
from airflow_provider_flux.batch.input.requests import RequestBuilder
from airflow_provider_flux.batch.input.rows import Row, describe_problems, read_rows
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.configured_models import known_models
from tests.support.batch_inputs import (
    DEFAULT_BODY,
    FILES,
    body_of,
    read_all_rows,
    read_valid_row,
    tables_of_rows,
    write_file,
)


def test_a_prompt_becomes_a_request_with_the_default_parameters() -> None:
    model = known_models()["flux-pro-1.1"]
    chair, lamp = (
        GenerationRequest("flux-pro-1.1", model.path, {"prompt": prompt, **DEFAULT_BODY}, model)
        for prompt in ("a chair", "a lamp")
    )
    assert read_all_rows(["a chair", "a lamp"]) == [
        Row(0, "0", "flux-pro-1.1", chair, None, None),
        Row(1, "1", "flux-pro-1.1", lamp, None, None),
    ]


def test_a_row_gets_the_request_that_the_single_image_operator_sends() -> None:
    parameters = {"prompt": "a chair", "width": 512, "raw": None, "seed": 7, "user": "me"}
    expected = build_request("flux-pro-1.1", parameters).parameters
    assert body_of(read_valid_row(parameters)) == expected


def test_values_of_a_row_win_over_the_defaults() -> None:
    rows = read_all_rows(
        [
            {"prompt": "a", "model": " flux-2-pro ", "seed": 1},
            {"prompt": "b", "model": None},
            {"model": "flux-dev"},
        ],
        defaults={"seed": 7, "prompt": "all", "output_format": None},
        model="flux-pro-1.1-ultra",
    )
    assert [(row.model, body_of(row)["prompt"], body_of(row)["seed"]) for row in rows] == [
        ("flux-2-pro", "a", 1),
        ("flux-pro-1.1-ultra", "b", 7),
        ("flux-dev", "all", 7),
    ]


def _with_text_keys(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with keys of one type, as a Parquet file has them."""
    return [
        {
            name: str(value) if name == "key" and value is not None else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _without_location(row: Row) -> Row:
    """Return the row as if it came from a list: a file has lines, and a list has indexes."""
    problem = row.problem and re.sub(r"\b(line|index) \d+", "some row", row.problem)
    key = row.key if problem is None else re.sub(r"^row-\d+(-\d+)?$", "stand-in", row.key)
    return replace(row, key=key, line=None, problem=problem)


def _has_value(row: Mapping[str, Any]) -> bool:
    """Return whether a line of CSV with the row has a value. Other lines are skipped."""
    return any(str(value).strip() for value in row.values() if value is not None)


@given(tables_of_rows(), st.booleans())
@example([{"prompt": "a\r\nb\rc\n,\"'"}], False)
@example([{"prompt": "\ufeffa"}, {"prompt": "a\x00b"}, {"prompt": " a "}], True)
@settings(deadline=None)
def test_a_list_and_every_file_format_give_the_same_rows(
    table: list[dict[str, Any]], is_mapped: bool
) -> None:
    table = [row for row in _with_text_keys(table) if _has_value(row)]
    if not table:
        return
    columns = {name: f"the {name}" for name in table[0]} if is_mapped else None
    rows = [
        {columns[name] if columns else name: value for name, value in row.items()} for row in table
    ]
    expected = read_all_rows(rows, columns=columns)
    assert [row.index for row in expected] == list(range(len(table)))
    with tempfile.TemporaryDirectory() as folder:
        for ending, write in FILES.items():
            path = Path(folder, f"rows{ending}")
            path.write_bytes(write(rows))
            read = read_all_rows(str(path), columns=columns)
            assert list(map(_without_location, read)) == list(map(_without_location, expected))
    assert read_all_rows(json.dumps(rows), columns=columns) == expected


def test_all_invalid_rows_are_described_in_one_message() -> None:
    table = [
        {"prompt": f"p{n}", "key": f"sku-{n}", "width": 512 if n % 2 else 100} for n in range(100)
    ]
    lines = describe_problems(read_rows(table, InputMapping())).splitlines()
    assert lines[0] == "50 rows are not valid:"
    assert lines[1].startswith("key 'sku-0', index 0: flux-pro-1.1: width=100: ")
    assert lines[20].startswith("key 'sku-38', index 38: ")
    assert lines[21:] == ["... and 30 more"]

    assert describe_problems(read_rows(table[1:2], InputMapping())) == ""
    one = describe_problems(read_rows(table[:1], InputMapping()), max_listed=1)
    assert one.startswith("1 row is not valid:\nkey 'sku-0', index 0: ")


def test_the_description_of_an_invalid_row_is_short() -> None:
    rows = read_rows([{"k" * 10_000: "v" * 10_000}], InputMapping())
    assert max(map(len, describe_problems(rows).splitlines())) < 1200


def test_an_invalid_row_of_a_file_is_described_by_the_line_where_it_begins(tmp_path: Path) -> None:
    content = b'key,prompt,width\na,"a\nchair",512\n\nb,lamp,7\na,door,512\n'
    rows = read_rows(write_file(tmp_path, "rows.csv", content), InputMapping())
    title, second, third = describe_problems(rows).splitlines()
    assert title == "2 rows are not valid:"
    assert second.startswith("key 'b', line 5: flux-pro-1.1: width=7: ")
    assert third.startswith("key 'a', line 6: key 'a' is taken by line 2.")


def test_rows_are_read_one_at_a_time() -> None:
    drawn: list[int] = []

    def prompts() -> Any:
        for n in range(1000):
            drawn.append(n)
            yield f"p{n}"

    assert [row.key for row in islice(read_rows(prompts(), InputMapping()), 3)] == ["0", "1", "2"]
    assert drawn == [0, 1, 2]


def test_reading_rows_keeps_little_memory_for_each_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    count, text = 20_000, "oak " * 250
    with path.open("w") as file:
        file.writelines(f'{{"prompt": "{n} {text}", "key": "k{n}"}}\n' for n in range(count))
    # Imports and caches of the first row do not count.
    next(read_rows(str(path), InputMapping()))
    tracemalloc.start()
    try:
        assert all(row.problem is None for row in read_rows(str(path), InputMapping()))
        assert tracemalloc.get_traced_memory()[1] < count * 200 + 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", sorted(NULL_TEXTS))
@pytest.mark.parametrize("make", [str, lambda text: f" {text} "])
def test_a_cell_with_a_text_for_a_missing_value_is_empty(
    text: str, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 24: a prompt ``nan`` was submitted."""
    cell = make(text)
    table = [cell, {"prompt": cell}, {"prompt": "a", "width": cell}]
    first, second, third = read_all_rows(table)
    assert "prompt is missing" in (first.problem or "")
    assert "prompt is missing" in (second.problem or "")
    assert body_of(third)["width"] == DEFAULT_BODY["width"]
    assert (
        f"3 cells have text for a missing value and count as empty. The first is {text!r} for "
        "prompt, index 0." in caplog.text
    )


def test_texts_for_missing_values_are_kept_on_request(caplog: pytest.LogCaptureFixture) -> None:
    """Fault 24: some prompts and keys are such words."""
    row = read_valid_row({"prompt": "nan", "key": "NULL"}, keep_null_text=True)
    assert (row.key, body_of(row)["prompt"]) == ("NULL", "nan")
    assert "missing value" not in caplog.text
    assert read_valid_row("a nan of paper").problem is None


def _nested(levels: int) -> Any:
    value: Any = "a"
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


@pytest.mark.parametrize("levels", [60, 61, 900, 901, 5_000, 100_001])
@pytest.mark.parametrize("is_checked", [True, False])
def test_a_deeply_nested_cell_is_the_problem_of_its_row(levels: int, is_checked: bool) -> None:
    """Fault 27: it ended the whole batch in every try."""
    table = ["a", {"prompt": "b", "extra": _nested(levels)}, "c"]
    first, second, third = read_all_rows(table, validate=is_checked)
    assert (first.problem, third.problem) == (None, None)
    assert second.problem == "index 1: extra has more than 50 levels of lists and dicts"


def test_deeply_nested_json_in_a_cell_is_the_problem_of_its_row(tmp_path: Path) -> None:
    """Fault 27: text of a cell that is parsed later was not bounded."""
    for levels in (60, 900, 100_000):
        cell = "[" * levels + "]" * levels
        row = {"prompt": "a", "images": cell}
        first, second = read_all_rows([row, "b"], model="flux-3-image")
        assert "images" in (first.problem or "")
        assert second.problem is None


class _Odd(dict[str, Any]):
    """A row that fails when it is read, as one of a closed database connection does."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("connection closed")


def test_an_unexpected_error_of_a_row_is_its_problem() -> None:
    """Fault 27: one row ended the whole batch."""
    first, second, third = read_all_rows(["a", _Odd(prompt="b"), "c"])
    assert (first.problem, third.problem) == (None, None)
    assert second.problem == "index 1: cannot be read (RuntimeError: connection closed)"


def test_an_unexpected_error_of_a_check_is_the_problem_of_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 27: one row ended the whole batch."""
    build = RequestBuilder.build

    def fail_for_b(builder: RequestBuilder, model: Any, parameters: Any, own: Any) -> Any:
        if parameters["prompt"] == "b":
            raise RecursionError("too deep")
        return build(builder, model, parameters, own)

    monkeypatch.setattr(RequestBuilder, "build", fail_for_b)
    first, second, third = read_all_rows(["a", {"prompt": "b", "key": "k"}, "c"])
    assert (first.problem, third.problem) == (None, None)
    assert (second.key, second.problem) == (
        "k",
        "index 1: cannot be read (RecursionError: too deep)",
    )
