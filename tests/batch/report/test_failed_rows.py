"""The file of the rows that did not work: in the form of the input, and whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.input.rows import read_rows
from airflow_provider_flux.batch.report.failed_rows import (
    FailedRows,
    check_failed_path,
    check_other_path,
)
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import FluxRequestError, FluxStorageError
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.batch_rows import row_builder

ENDINGS = ("jsonl", "csv", "parquet")


class Input:
    """An input of which each row that is not valid counts as one that did not work."""

    def __init__(self, folder: Path, source: Any, **mapping: Any) -> None:
        open_path(str(folder))
        self.folder = folder
        self.mapping = InputMapping(keep_all_data=True, **mapping)
        self.store = RowStore(folder / "rows.sqlite", row_builder())
        for row in read_rows(source, self.mapping):
            self.store.add(row)
        self.store.commit()

    def fail(self, *keys: str, outcome: str = "failed") -> Input:
        """End rows without an image."""
        for row in [
            row for group in self.store.open_groups() for row in self.store.pending_rows(group)
        ]:
            if row.key in keys:
                self.store.end(row, outcome)  # type: ignore[arg-type]
        return self

    def write(self, ending: str) -> str:
        """Write the file, and return its path."""
        path = f"{self.folder}/failed.{ending}"
        options = WriteOptions(check_failed_path(path))
        with RowReader(self.store.path) as reader:
            FailedRows(path, options, self.folder, self.mapping).write(reader)
        self.store.close()
        return path


def keys_and_prompts(source: Any, **mapping: Any) -> list[Any]:
    """Return key and prompt of the rows of an input, as a batch reads them."""
    rows = read_rows(source, InputMapping(**mapping))
    return [(row.key, row.request and row.request.parameters["prompt"]) for row in rows]


ROWS = [
    {"key": "A1", "prompt": "a fox", "width": 512, "seed": None},
    {"key": "=1+1", "prompt": '=cmd|"x", "a"\nsecond line', "width": 256, "seed": 7},
    {"key": "0017", "prompt": "  +fox  ", "width": 512, "seed": 2**40},
    {"key": "ok", "prompt": "fine", "width": 512, "seed": 1},
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_rows_that_failed_are_read_again_as_they_were(tmp_path: Path, ending: str) -> None:
    path = Input(tmp_path, ROWS).fail("A1", "=1+1", "0017").write(ending)
    assert keys_and_prompts(path) == keys_and_prompts(ROWS[:3])


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("outcome", "is_listed"),
    [
        *((outcome, True) for outcome in ("moderated", "failed", "uncertain", "lost")),
        *((outcome, False) for outcome in ("landed", "reused", "pending", "submitted")),
    ],
)
def test_only_rows_that_ended_without_an_image_are_listed(
    tmp_path: Path, ending: str, outcome: str, is_listed: bool
) -> None:
    rows = Input(tmp_path, ROWS)
    if outcome not in {"pending", "submitted"}:
        rows.fail("A1", outcome=outcome)
    read = keys_and_prompts(rows.write(ending))
    assert read == (keys_and_prompts(ROWS[:1]) if is_listed else [])


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_such_rows_the_file_has_a_header_only_and_replaces_an_earlier_one(
    tmp_path: Path, ending: str
) -> None:
    (tmp_path / f"failed.{ending}").write_text("old")
    path = Input(tmp_path, ROWS).write(ending)
    assert list(read_rows(path, InputMapping())) == []
    if ending == "csv":
        assert Path(path).read_text() == "key,prompt,width,seed\n"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_row_that_is_not_valid_is_listed_with_all_its_values(tmp_path: Path, ending: str) -> None:
    rows = [{"key": "A1", "prompt": "a fox", "width": "wide", "note": None}, ROWS[3]]
    path = Input(tmp_path, rows).write(ending)
    (row,) = read_rows(path, InputMapping())
    assert row.key == "A1"
    assert "width" in str(row.problem)


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_without_keys_keep_the_numbers_that_name_their_images(
    tmp_path: Path, ending: str
) -> None:
    path = Input(tmp_path, ["a fox", "a hen", "an owl"]).fail("1", "2").write(ending)
    assert keys_and_prompts(path) == [("1", "a hen"), ("2", "an owl")]


@pytest.mark.parametrize("ending", ENDINGS)
def test_columns_that_no_request_needs_are_in_the_file(tmp_path: Path, ending: str) -> None:
    rows = [{"sku": number, "text": f"fox {number}", "shop": "north"} for number in (101, 102)]
    columns = {"key": "sku", "prompt": "text"}
    path = Input(tmp_path, rows, columns=columns).fail("102").write(ending)
    assert keys_and_prompts(path, columns=columns) == [("102", "fox 102")]
    mapping = InputMapping(columns=columns, keep_all_data=True)
    (row,) = read_rows(path, mapping)
    assert dict(row.data) | {"sku": 102} == rows[1]


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_that_are_lists_get_the_names_of_their_parameters(tmp_path: Path, ending: str) -> None:
    rows = [(101, "x", "a fox"), (102, "y", "a hen")]
    path = Input(tmp_path, rows, columns={"key": 0, "prompt": 2}).fail("102").write(ending)
    assert keys_and_prompts(path) == [("102", "a hen")]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_row_of_a_sweep_is_listed_once_without_the_axes(tmp_path: Path, ending: str) -> None:
    rows = [{"key": "A1", "name": "fox"}, {"key": "A2", "name": "hen"}]
    mapping: dict[str, Any] = {
        "prompt": "{name} in {style}",
        "matrix": {"style": ["oil", "ink"], "seed": [1, 2]},
    }
    failed = Input(tmp_path, rows, **mapping).fail("A2-oil-1", "A2-ink-2")
    path = failed.write(ending)
    again = keys_and_prompts(path, **mapping)
    assert again == keys_and_prompts(rows[1:], **mapping)
    assert len(again) == 4


def test_rows_that_cannot_be_read_are_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"key": "A1", "prompt": "a fox", "width": "wide"}\nno json\n')
    failed = Input(tmp_path, str(path)).write("jsonl")
    assert [row.key for row in read_rows(failed, InputMapping())] == ["A1"]
    assert "1 rows that could not be read" in caplog.text


def test_no_file_has_a_webhook_secret(tmp_path: Path) -> None:
    rows = [{"key": "A1", "prompt": "a fox", "webhook_secret": "hush"}]
    assert "hush" not in Path(Input(tmp_path, rows).write("jsonl")).read_text()


def test_a_file_that_cannot_be_written_is_an_error_that_a_retry_may_help(tmp_path: Path) -> None:
    (tmp_path / "failed.csv").mkdir()
    with pytest.raises(FluxStorageError, match=r"failed.csv could not be written"):
        Input(tmp_path, ROWS).fail("A1").write("csv")


@pytest.mark.parametrize(
    "path", ["f.csv", "/x/f.json", "/x/f", "s3://b/f.csv.gz", "s3://b/a?b.csv"]
)
def test_a_path_that_is_no_file_of_rows_is_refused(path: str) -> None:
    with pytest.raises(FluxRequestError, match=r"failed_path='[^']*'"):
        check_failed_path(path)


@pytest.mark.parametrize("other", ["/x/f.csv", "file:///x/f.csv", "/x/"])
def test_a_path_of_another_file_of_the_batch_is_refused(other: str) -> None:
    with pytest.raises(FluxRequestError, match=r"would replace the input"):
        check_other_path("/x/f.csv", {"the manifest": "/x/m.csv", "the input": other})
    check_other_path("/y/f.csv", {"the input": other, "the sheet": None})


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A new folder each time."""
    return lambda: tmp_path_factory.mktemp("rows")


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25)
@given(prompts=st.lists(_TEXT, min_size=1, max_size=5))
def test_any_text_is_read_again_as_it_was(folders: Any, ending: str, prompts: list[str]) -> None:
    rows = [{"key": f"k{number}", "prompt": text} for number, text in enumerate(prompts)]
    expected = [pair for pair in keys_and_prompts(rows) if pair[1] is not None]
    failed = Input(folders(), rows).fail(*(row["key"] for row in rows))
    again = [pair for pair in keys_and_prompts(failed.write(ending)) if pair[1] is not None]
    assert json.dumps(again) == json.dumps(expected)
