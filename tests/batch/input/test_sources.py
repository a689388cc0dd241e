"""What can be a batch's input, and what is said of what cannot."""

from __future__ import annotations

import base64
import gzip
import io
import sys
import tracemalloc
from collections import UserList
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.batch.input import files
from airflow_provider_flux.batch.input.sources import Broken, read_raw
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxInputError,
    FluxRequestError,
)
from tests.support.batch_inputs import FILES, as_csv, as_jsonl, as_parquet
from tests.support.cluster.processes import free_port
from tests.support.object_stores import Store, s3_connection

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = [
    {"sku": f"s{n}", "text": f"a chair, no {n}", "width": 512 if n % 3 else None}
    for n in range(700)
]
AS_TEXT = [{**row, "width": None if row["width"] is None else "512"} for row in ROWS]


def written(folder: Path, name: str, content: bytes) -> str:
    """Write a file and return its path."""
    (folder / name).write_bytes(content)
    return str(folder / name)


def refusal(
    source: Any, columns: Collection[str] | None = None, kind: type[FluxError] = FluxRequestError
) -> str:
    """Read all of an input; return what is said of it."""
    with pytest.raises(kind) as caught:
        list(read_raw(source, columns))
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize("ending", FILES)
def test_each_kind_of_file_is_read_from_each_kind_of_store(store: Store, ending: str) -> None:
    uri = f"{store.root}/rows{ending}"
    ObjectStoragePath(uri).write_bytes(FILES[ending](ROWS))
    assert list(read_raw(uri)) == (AS_TEXT if ".csv" in ending else ROWS)
    assert list(read_raw(ObjectStoragePath(uri), ["text"])) == [
        {"text": row["text"]} for row in ROWS
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ".JSONL", ".Csv", ".PARQUET"])
def test_a_file_of_the_worker_is_named_by_its_path(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, f"rows ü{ending}", FILES[ending.lower()](ROWS[:3]))
    for source in (path, Path(path), f"file://{path}"):
        assert [dict(row)["sku"] for row in read_raw(source)] == ["s0", "s1", "s2"]  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [list, tuple, UserList, iter, lambda rows: (row for row in rows)])
def test_rows_are_taken_from_anything_that_has_an_order(make: Any) -> None:
    assert list(read_raw(make(["a", {"prompt": "b"}]))) == ["a", {"prompt": "b"}]


def test_a_list_that_a_template_has_made_text_of_is_read_if_it_is_json() -> None:
    assert list(read_raw(' ["a", {"prompt": "b", "seed": 1}]\n')) == [
        "a",
        {"prompt": "b", "seed": 1},
    ]
    assert "tojson" in refusal("['a', 'b']")
    assert "tojson" in refusal("[" * 100_000)


@pytest.mark.parametrize(
    "source", ["a red chair", "/data/rows.json", "rows.xlsx", "s3://b/rows.parquet.gz", "{}", ""]
)
def test_other_text_is_told_what_is_taken(source: str) -> None:
    said = refusal(source)
    assert repr(source) in said
    assert ".jsonl, .csv or .parquet" in said
    assert ".output" in said


def test_a_long_text_or_a_secret_in_it_is_not_shown() -> None:
    said = refusal(f"s3://key:hunter2@b/{'x' * 5000}")
    assert "hunter2" not in said
    assert len(said) < 600


@pytest.mark.parametrize("source", ["rows.csv", "data/rows.jsonl", "./rows.parquet"])
def test_a_relative_path_is_refused(source: str) -> None:
    assert "is relative" in refusal(source)


class _Frame:
    """As much of a data frame as tells it from a list: it iterates over the names of its columns."""

    columns = ("prompt",)

    def to_dict(self) -> dict[str, Any]:
        return {"prompt": {0: "a"}}

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


@pytest.mark.parametrize("source", [{"prompt": "a"}, {"a"}, b"a", 5, None])
def test_what_gives_no_rows_when_it_is_iterated_is_refused(source: Any) -> None:
    assert "It must be a list of prompts" in refusal(source)


def test_a_data_frame_is_told_the_ways_out() -> None:
    assert "to_dict('records')" in refusal(_Frame())


@pytest.mark.parametrize(
    "row", [None, 5, ["a"], b"a", {1: "a"}, {"prompt": b"\xff\xd8"}, {"prompt": "\ud800"}, "\udfff"]
)
def test_a_row_that_is_none_is_no_end_of_the_input(row: Any) -> None:
    first, second, third = read_raw(["a", row, "c"])
    assert (first, third) == ("a", "c")
    assert isinstance(second, Broken)


def empty_inputs() -> list[tuple[str, bytes]]:
    """Return files without a row: nothing at all, blank lines, a header alone."""
    parquet = io.BytesIO()
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), parquet)
    lines = [
        (".jsonl", b""),
        (".jsonl", b"\n \n"),
        (".csv", b""),
        (".csv", b"prompt\r\n"),
        (".csv", b"prompt\n\n\n"),
    ]
    return [*lines, (".parquet", parquet.getvalue())]


@pytest.mark.parametrize(("ending", "content"), empty_inputs())
def test_an_empty_file_has_no_rows(tmp_path: Path, ending: str, content: bytes) -> None:
    assert list(read_raw(written(tmp_path, f"rows{ending}", content), ["prompt"])) == []


@pytest.mark.parametrize("source", [[], (), "[]", iter([])])
def test_an_empty_list_has_no_rows(source: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert list(read_raw(source, ["prompt"])) == []
    assert "no rows" in caplog.text


def test_lines_that_are_broken_are_told_by_number_and_the_others_read(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"prompt": "a"}',
        b"",
        b'{"prompt": ',
        b'{"prompt": "\xe9"}',
        b"[1]",
        b'"b"',
        b"9" * 5000,
    ]
    rows = list(read_raw(written(tmp_path, "rows.jsonl", b"\r\n".join(lines))))
    assert rows[0] == {"prompt": "a"}
    assert rows[4] == "b"
    problems = [row.problem for row in rows if isinstance(row, Broken)]
    assert problems[0].startswith("line 3 is not JSON")
    assert problems[1:3] == ["line 4 is not UTF-8", "is a list, neither a prompt nor a dict"]
    assert problems[3].startswith("line 7 cannot be read")
    assert len(rows) == 6


def test_a_csv_row_of_another_width_is_broken_and_the_others_read(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfprompt,width\r\n"a, ""b""\r\nc",512\r\nd\r\n\r\ne,1,2\r\nf,\r\n'
    rows = list(read_raw(written(tmp_path, "rows.csv", content)))
    assert rows == [
        {"prompt": 'a, "b"\r\nc', "width": "512"},
        Broken("line 4 has 1 cells, and the header has 2"),
        Broken("line 6 has 3 cells, and the header has 2"),
        {"prompt": "f", "width": None},
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'prompt\n"a\nb\nc\n', "line 4 is not CSV"),
        (b'prompt\n"a"b\n', "line 2 is not CSV"),
        (b"prompt\na\n\xe9\n", "line 3 is not UTF-8"),
        ("prompt\na\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"prompt,width,prompt\na,1,b\n", "has the column 'prompt' twice"),
    ],
)
def test_csv_that_cannot_be_trusted_is_refused_as_a_whole(
    tmp_path: Path, content: bytes, said: str
) -> None:
    assert said in refusal(written(tmp_path, "rows.csv", content))


def test_an_image_in_a_cell_is_no_longer_than_csv_takes(tmp_path: Path) -> None:
    image = base64.b64encode(bytes(300_000)).decode()
    path = written(tmp_path, "rows.csv", as_csv([{"input_image": image}]))
    assert list(read_raw(path)) == [{"input_image": image}]


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_line_without_end_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(files, "_LONGEST_LINE", 1024 * 1024)
    path = written(
        tmp_path, f"rows{ending}.gz", gzip.compress(bytes(200 * 1024 * 1024), compresslevel=1)
    )
    tracemalloc.start()
    try:
        assert "line 1 is longer than 1 MB" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl.gz", b'{"prompt": "a"}', "is not whole, or not gzip"),
        ("a.jsonl.gz", gzip.compress(as_jsonl(ROWS))[:-20], "is not whole, or not gzip"),
        ("a.csv.gz", gzip.compress(as_csv(ROWS))[:100], "is not whole, or not gzip"),
        ("a.parquet", b"", "cannot be read"),
        ("a.parquet", b"prompt\na\n", "cannot be read"),
        ("a.parquet", as_parquet(ROWS)[:-50], "cannot be read"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    assert said in refusal(written(tmp_path, name, content))


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_column_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, ending: str
) -> None:
    source = written(tmp_path, f"rows{ending}", FILES[ending](ROWS))
    said = refusal(source, ["text", "descripton"])
    assert (
        said
        == "requests has no column 'descripton', which columns names. It has: 'sku', 'text', 'width'"
    )
    assert refusal(ROWS, ["text", "descripton"]) == said


def test_a_column_of_a_list_may_be_missing_in_some_rows() -> None:
    rows = [{"text": "a"}, "b", {"width": 512}]
    assert list(read_raw(rows, ["text", "width"])) == [{"text": "a"}, "b", {"width": 512}]
    assert "no column 'width'" in refusal(["a", "b"], ["width"])


def test_parquet_without_pyarrow_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "rows.parquet", as_parquet(ROWS))
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'airflow-provider-flux[parquet]'" in refusal(
        path, kind=FluxConfigurationError
    )


def test_a_file_that_is_not_there_may_come(store: Store, tmp_path: Path) -> None:
    assert "is not there" in refusal(f"{store.root}/rows.csv", kind=FluxInputError)
    assert "is not there" in refusal(str(tmp_path / "no" / "rows.parquet"), kind=FluxInputError)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").mkdir()
    assert "cannot be read" in refusal(str(tmp_path / "rows.csv"))


def test_a_bucket_that_is_not_there_and_a_connection_that_is_not(aws_lab: str) -> None:
    assert "is not there" in refusal(f"s3://{aws_lab}@no-such-bucket/rows.csv", kind=FluxInputError)
    assert "requests=" in refusal("s3://no_such_conn@b/rows.csv", kind=FluxConfigurationError)


def test_a_store_that_is_down_may_be_up_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_ROWS_DOWN", s3_connection(f"http://127.0.0.1:{free_port()}")
    )
    assert "could not be read" in refusal("s3://aws_rows_down@b/rows.csv", kind=FluxInputError)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_large_file_in_a_store_is_never_in_memory_as_a_whole(aws_lab: str, ending: str) -> None:
    ObjectStoragePath(f"s3://{aws_lab}@media/").mkdir(exist_ok=True)
    uri = f"s3://{aws_lab}@media/large{ending}"
    count, text = 10_000, "wood " * 200
    content = FILES[ending](
        [{"prompt": f"{n} {text}", "other": f"{n}{text}"} for n in range(count)]
    )
    ObjectStoragePath(uri).write_bytes(content)
    del content
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_raw(uri, ["prompt"])) == count
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
