"""Manifest of a batch: its rows, its formats, and its replacement in one step."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.report.manifest import (
    ManifestRow,
    check_manifest_path,
    content_type_of,
    write_manifest,
)
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxRequestError,
    FluxStorageError,
)
from airflow_provider_flux.gallery.card import card_of_row
from airflow_provider_flux.gallery.manifest_cards import open_manifest_cards
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.batch_rows import build_request, row_builder
from tests.support.journal_samples import ACCEPTED, LANDED

_FACTS = {"sha256": "cd", "bytes": 1, "width": 1, "height": 1, "content_type": "image/webp"}
#: Renditions of the landed image, and what a stranger may have written among them.
RENDITIONS: Any = {
    "thumb": {"uri": "/x/0.thumb.webp", **_FACTS},
    "square": {"uri": "/x/0.square.webp", **_FACTS},
    "planted": {"uri": 7},
}


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """A row store with a row of each outcome."""
    open_path(str(tmp_path))
    (tmp_path / "local").mkdir()
    store = RowStore(tmp_path / "local" / "rows.sqlite", row_builder())
    parameters = {"prompt": "x", "width": 256, "height": 256}
    for index, key in enumerate(["a", "b\u2028ä🦊", "c", "d"]):
        problem = "width is 7" if index == 3 else None
        request = None if problem else build_request("flux-2-pro", parameters)
        store.add(Row(index, key, "flux-2-pro", request, None, problem))
    landed, moderated, _ = store.pending_rows("flux-2-pro")
    image: Any = {**LANDED["image"], "renditions": RENDITIONS}
    generation: Generation = {**LANDED, "seed": 2**32 - 1, "image": image}
    store.end(landed.with_lost_answer(), "landed", generation=generation, latency=1.23456)
    store.end(
        replace(moderated, is_fallback=True),
        "moderated",
        generation=ACCEPTED,
        reason="refused for\nViolence",
    )
    yield store
    store.close()


def write(store: RowStore, uri: str, *, with_prompts: bool = False) -> None:
    write_options = WriteOptions(content_type_of(uri))
    with RowReader(store.path) as reader:
        write_manifest(reader, uri, write_options, store.path.parent, with_prompts=with_prompts)


EXPECTED = [
    {
        "index": 0,
        "key": "a",
        "outcome": "landed",
        "reason": None,
        "uri": "/x/0.jpeg",
        "sha256": "ab",
        "bytes": 1,
        "width": 1,
        "height": 1,
        "content_type": "image/jpeg",
        "sidecar": None,
        "thumb": "/x/0.thumb.webp",
        "renditions": {"thumb": "/x/0.thumb.webp", "square": "/x/0.square.webp"},
        "request_id": "r1",
        "model": "flux-2-pro",
        "seed": 2**32 - 1,
        "cost": 3.0,
        "cost_source": "reported",
        "estimated_cost": 3.0,
        "seconds": 1.235,
        "fallback": False,
        "uncertain_submits": 1,
    },
    {
        "index": 1,
        "key": "b\u2028ä🦊",
        "outcome": "moderated",
        "reason": "refused for\nViolence",
        "uri": None,
        "sha256": None,
        "thumb": None,
        "renditions": None,
        "request_id": "r1",
        "cost": 0.0,
        "seconds": None,
        "fallback": True,
        "uncertain_submits": 0,
    },
    {
        "index": 2,
        "key": "c",
        "outcome": "pending",
        "reason": None,
        "cost": None,
        "estimated_cost": 3.0,
    },
    {
        "index": 3,
        "key": "d",
        "outcome": "invalid",
        "reason": "width is 7",
        "cost": None,
        "estimated_cost": None,
    },
]


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "parquet", "PARQUET"])
def test_the_manifest_has_all_rows_in_the_order_of_the_input(
    rows: RowStore, tmp_path: Path, ending: str
) -> None:
    uri = f"{tmp_path}/out/m.{ending}"
    write(rows, uri)
    if ending.lower() == "parquet":
        written = pq.read_table(uri).to_pylist()
    else:
        written = [json.loads(line) for line in Path(uri).read_bytes().split(b"\n")[:-1]]
    assert len(written) == len(EXPECTED)
    for row, expected in zip(written, EXPECTED, strict=True):
        assert list(row) == list(ManifestRow.__annotations__)
        if isinstance(row["renditions"], list):  # a map of Parquet
            row["renditions"] = dict(row["renditions"])
        assert {name: row[name] for name in expected} == expected


def test_a_parquet_manifest_has_typed_columns_even_if_they_are_empty(
    tmp_path: Path, rows: RowStore
) -> None:
    empty = RowStore(tmp_path / "empty.sqlite", row_builder())
    empty.add(Row(0, "a", "flux-2-pro", None, None, "bad"))
    empty.commit()
    schemas = []
    for store in (empty, rows):
        write(store, f"{tmp_path}/m.parquet")
        schemas.append(pq.read_schema(f"{tmp_path}/m.parquet"))
    empty.close()
    assert schemas[0] == schemas[1]
    assert schemas[0].field("sha256").type == pa.string()
    assert schemas[0].field("cost").type == pa.float64()
    assert schemas[0].field("fallback").type == pa.bool_()
    assert schemas[0].field("renditions").type == pa.map_(pa.string(), pa.string())


def test_an_earlier_manifest_is_replaced_in_one_step(rows: RowStore, tmp_path: Path) -> None:
    uri = tmp_path / "m.jsonl"
    uri.write_text("old")
    with uri.open() as old:
        write(rows, str(uri))
        assert old.read() == "old"
    assert uri.read_text().count("\n") == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local", "m.jsonl", "m.jsonl.index"]
    assert not (rows.path.parent / "manifest").exists()


def test_an_error_while_writing_leaves_the_earlier_object(rows: RowStore, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").mkdir()
    with pytest.raises(FluxStorageError, match=r"m.jsonl could not be written"):
        write(rows, f"{tmp_path}/m.jsonl")
    assert (tmp_path / "m.jsonl").is_dir()


@pytest.mark.parametrize("name", ["m.csv", "m", "m.json", "parquet", "s3://b/m.jsonl.gz"])
def test_a_manifest_with_an_unknown_ending_is_refused(name: str) -> None:
    with pytest.raises(FluxRequestError, match=r"must end in one of .jsonl, .ndjson, .parquet"):
        check_manifest_path(name)


def test_a_relative_manifest_path_is_refused() -> None:
    with pytest.raises(FluxRequestError, match=r"manifest_path='out/m.jsonl' is relative"):
        check_manifest_path("out/m.jsonl")


def test_a_parquet_manifest_without_pyarrow_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        FluxConfigurationError, match=r"pip install 'airflow-provider-flux\[parquet\]'"
    ):
        content_type_of("/x/m.parquet")
    assert check_manifest_path("/x/m.parquet") == "application/vnd.apache.parquet"


@pytest.mark.parametrize(
    "path", ["/x/a#b/m.jsonl", "s3://b/x?y.parquet", "/x/" + "m" * 255 + ".jsonl"]
)
def test_a_manifest_that_a_store_would_keep_elsewhere_is_refused(path: str) -> None:
    """Faults 15 and 31: a manifest has a name as an image has."""
    with pytest.raises(FluxRequestError, match=r"as another name|The limit of a local disk"):
        check_manifest_path(path)


@pytest.mark.parametrize("name", ["m.jsonl", "m.parquet"])
def test_no_value_of_a_record_or_an_answer_costs_the_manifest(
    rows: Any, tmp_path: Path, name: str
) -> None:
    """Fault 16: seeds beyond 64 bits, infinite numbers, surrogates and other types fit."""
    strange: Any = {
        **LANDED,
        "seed": 2**64 - 1,
        "cost": float("inf"),
        "cost_source": "a\udc80b",
        "request_id": 17,
        "submitted_at": ["2026"],
        "image": {"uri": {"a": 1}, "bytes": "many", "width": 2.5, "height": True},
    }
    rows.end(rows.pending_rows("flux-2-pro")[0], "landed", generation=strange, latency=1.0)
    uri = str(tmp_path / name)
    write(rows, uri)
    written = (
        pq.read_table(uri).to_pylist()
        if name.endswith("parquet")
        else [json.loads(line) for line in Path(uri).read_text("utf-8").split("\n")[:-1]]
    )
    assert (written[2]["outcome"], written[2]["cost_source"]) == ("landed", "a?b")
    empty = ("seed", "cost", "request_id", "submitted_at", "uri", "bytes", "width", "height")
    assert [written[2][column] for column in empty] == [None] * len(empty)


class TestInputColumns:
    DATA = {"sku": "A1", "name": "Lamp\u2028ä", "price": 19.9, "tags": ["a"], "empty": None}

    def write(self, store: RowStore, tmp_path: Path, ending: str, columns: Any) -> list[Any]:
        """Write a manifest with columns of the input, and return its rows."""
        request = build_request("flux-2-pro", {"prompt": "x"})
        data = {**self.DATA, "big": "ä" * 200_000}
        store.add(Row(4, "e", "flux-2-pro", request, None, None, data=data))
        store.commit()
        uri = f"{tmp_path}/out/m.{ending}"
        with RowReader(store.path) as reader:
            write_manifest(
                reader,
                uri,
                WriteOptions(content_type_of(uri)),
                store.path.parent,
                input_columns=columns,
            )
        if ending == "parquet":
            rows = pq.read_table(uri).to_pylist()
            return [row | {"input": row["input"] and json.loads(row["input"])} for row in rows]
        return [json.loads(line) for line in Path(uri).read_bytes().split(b"\n")[:-1]]

    @pytest.mark.parametrize("ending", ["jsonl", "parquet"])
    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ((), None),
            (["sku", "tags", "other"], {"sku": "A1", "tags": ["a"]}),
            ("all", {**DATA, "big": None}),
        ],
    )
    def test_the_manifest_has_the_columns_of_the_input_that_it_should_have(
        self, rows: RowStore, tmp_path: Path, ending: str, columns: Any, expected: Any
    ) -> None:
        written = self.write(rows, tmp_path, ending, columns)
        assert [row["input"] for row in written] == [None] * 4 + [expected]

    def test_an_alt_text_is_that_of_an_image_and_of_a_prompt_that_may_be_told(
        self, rows: RowStore, tmp_path: Path
    ) -> None:
        uri = f"{tmp_path}/m.jsonl"
        for with_prompts, expected in ((True, "x"), (False, None)):
            write(rows, uri, with_prompts=with_prompts)
            lines = Path(uri).read_bytes().split(b"\n")[:-1]
            texts = [json.loads(line)["alt_text"] for line in lines]
            assert texts == [expected, None, None, None]


class TestIndex:
    def test_the_index_has_a_card_for_each_row_of_the_manifest(
        self, rows: RowStore, tmp_path: Path
    ) -> None:
        uri = f"{tmp_path}/out/m.jsonl"
        write(rows, uri)
        cards = open_manifest_cards(uri)
        manifest = [json.loads(line) for line in Path(uri).read_bytes().split(b"\n")[:-1]]
        assert list(cards) == [card_of_row(row) for row in manifest]
        assert cards.manifest_bytes == Path(uri).stat().st_size
        assert cards.totals.outcomes == dict.fromkeys(
            ("landed", "moderated", "pending", "invalid"), 1
        )

    @pytest.mark.parametrize("with_prompts", [True, False])
    def test_the_index_has_prompts_only_if_it_may(
        self, rows: RowStore, tmp_path: Path, with_prompts: bool
    ) -> None:
        uri = f"{tmp_path}/out/m.jsonl"
        write(rows, uri, with_prompts=with_prompts)
        prompts = [card.prompt for card in open_manifest_cards(uri)]
        assert prompts == (["x", None, "x", None] if with_prompts else [None] * 4)

    def test_a_manifest_without_its_index_gives_the_same_cards(
        self, rows: RowStore, tmp_path: Path
    ) -> None:
        uri = f"{tmp_path}/out/m.jsonl"
        write(rows, uri)
        indexed = list(open_manifest_cards(uri))
        Path(f"{uri}.index").unlink()
        assert list(open_manifest_cards(uri)) == indexed

    def test_an_index_that_cannot_be_written_costs_no_manifest(
        self, rows: RowStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        uri = f"{tmp_path}/out/m.jsonl"
        Path(f"{uri}.index").mkdir(parents=True)
        write(rows, uri)
        assert len(Path(uri).read_text().splitlines()) >= 4
        assert "index is missing" in caplog.text
        assert len(list(open_manifest_cards(uri))) == 4
