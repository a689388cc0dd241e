"""Lists, JSON text and files as the input of a batch."""

from __future__ import annotations

import sqlite3
from collections import UserList
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from airflow_provider_flux.batch.input.raw_rows import UnreadableRow
from tests.support.batch_inputs import FILES, ROWS, read_values, refusal_of, write_file


@pytest.mark.parametrize("make", [list, tuple, UserList, iter, lambda rows: (row for row in rows)])
def test_rows_are_read_from_any_ordered_iterable(make: Any) -> None:
    assert read_values(make(["a", {"prompt": "b"}])) == ["a", {"prompt": "b"}]


def test_a_list_of_rows_as_json_text_is_read() -> None:
    assert read_values(' ["a", {"prompt": "b", "seed": 1}]\n') == [
        "a",
        {"prompt": "b", "seed": 1},
    ]
    assert "tojson" in refusal_of("['a', 'b']")
    assert "tojson" in refusal_of("[" * 100_000)


class _DataFrame:
    """A stand-in for a data frame, which iterates over the names of its columns."""

    columns = ("prompt",)

    def to_dict(self) -> dict[str, Any]:
        return {"prompt": {0: "a"}}

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


@pytest.mark.parametrize("source", [{"prompt": "a"}, {"a"}, b"a", 5, None])
def test_an_iterable_of_something_other_than_rows_is_refused(source: Any) -> None:
    assert "It must be a list of prompts" in refusal_of(source)


def test_a_data_frame_is_refused_with_the_remedy() -> None:
    assert "to_dict('records')" in refusal_of(_DataFrame())


@pytest.mark.parametrize(
    "row", [None, 5, ["a"], b"a", {1: "a"}, {"prompt": b"\xff\xd8"}, {"prompt": "\ud800"}, "\udfff"]
)
def test_an_unreadable_row_does_not_end_the_input(row: Any) -> None:
    first, second, third = read_values(["a", row, "c"])
    assert (first, third) == ("a", "c")
    assert isinstance(second, UnreadableRow)


@pytest.mark.parametrize("source", [[], (), "[]", iter([])])
def test_an_empty_list_has_no_rows_and_gives_a_warning(
    source: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_values(source, ["prompt"]) == []
    assert "no rows" in caplog.text


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_missing_column_is_reported_with_the_existing_ones(tmp_path: Path, ending: str) -> None:
    source = write_file(tmp_path, f"rows{ending}", FILES[ending](ROWS))
    message = refusal_of(source, ["text", "descripton"])
    assert message == (
        "requests has no column 'descripton', which columns names. It has: 'sku', 'text', 'width'"
    )
    assert refusal_of(ROWS, ["text", "descripton"]) == message


def test_a_column_may_be_missing_in_some_rows_of_a_list() -> None:
    rows = [{"text": "a"}, "b", {"width": 512}]
    assert read_values(rows, ["text", "width"]) == [{"text": "a"}, "b", {"width": 512}]
    assert "no column 'width'" in refusal_of(["a", "b"], ["width"])


def test_if_all_rows_are_broken_each_has_its_own_reason_and_line(tmp_path: Path) -> None:
    """Fault 22: the message was that the input had no column, although the header had it."""
    csv = write_file(tmp_path, "rows.csv", b"sku,description\na,b,c\nd,e,f\n")
    jsonl = write_file(tmp_path, "rows.jsonl", b"{'sku': 'a'}\n{'sku': 'b'}\n")
    for path, problem in ((csv, "has 3 cells, but the header has 2"), (jsonl, "is not JSON")):
        for row in read_values(path, ["sku", "description"]):
            assert isinstance(row, UnreadableRow)
            assert row.problem.startswith(problem)
    assert all(isinstance(row, UnreadableRow) for row in read_values([5, None], ["sku"]))


def test_a_missing_column_is_reported_with_the_rows_that_cannot_be_read(tmp_path: Path) -> None:
    """Fault 22: the reason of a broken row may be that of the missing column, too."""
    path = write_file(tmp_path, "rows.jsonl", b'{"sku": "a"}\n{"sku": "b", "text"\n')
    message = refusal_of(path, ["sku", "text"])
    assert "has no column 'text', which columns names. It has: 'sku'. 1 row could not" in message
    assert "the first: line 2 is not JSON" in message


class _Product(NamedTuple):
    sku: str
    text: str


@pytest.mark.parametrize("row", [("a", "b", 5), ["a", "b"], _Product("a", "b")])
def test_rows_of_a_database_cursor_are_read_by_position_or_name(row: Any) -> None:
    """Fault 32: rows given as lists were refused."""
    columns: list[Any] = ["sku", "text"] if isinstance(row, _Product) else [0, 1]
    (read,) = read_values([row], columns)
    assert read == dict(zip(columns, ("a", "b"), strict=True))
    assert read_values([row], [1]) == [{1: "b"}]


def test_rows_of_sqlite_are_read_by_position_or_name() -> None:
    """Fault 32: a cursor of the standard library returns tuples, or rows with names."""
    database = sqlite3.connect(":memory:")
    query = "SELECT 'a' AS sku, 'b' AS text"
    assert read_values(database.execute(query), [0, 1]) == [{0: "a", 1: "b"}]
    database.row_factory = sqlite3.Row
    assert read_values(database.execute(query), ["sku", "text"]) == [{"sku": "a", "text": "b"}]
    assert read_values(database.execute(query), [1]) == [{1: "b"}]
    database.close()


def test_positions_are_refused_for_a_file_with_names(tmp_path: Path) -> None:
    """Fault 32: only lists have positions."""
    path = write_file(tmp_path, "rows.csv", b"sku,text\na,b\n")
    assert "columns has the position 0" in refusal_of(path, [0, 1])


def test_a_row_that_is_a_list_without_positions_names_the_remedy() -> None:
    """Fault 32: the message did not say what to do."""
    (row,) = read_values([("a", "b")])
    assert isinstance(row, UnreadableRow)
    assert "set columns to positions from 0" in row.problem
