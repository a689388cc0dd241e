"""Rows: mapped, completed and checked, whatever they are read from."""

from __future__ import annotations

import base64
import json
import tempfile
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.requests import restore_request
from airflow_provider_flux.batch.input.rows import (
    SPECIAL_NAMES,
    InputMapping,
    Row,
    describe_problems,
    read_rows,
)
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.output_path import safe_name
from tests.support.batch_inputs import FILES
from tests.support.sample_media import picture

LAYOUT = InputMapping()
SENT = {
    "width": 1024,
    "height": 1024,
    "prompt_upsampling": False,
    "safety_tolerance": 2,
    "output_format": "jpeg",
}


def rows_of(source: Any, **layout: Any) -> list[Row]:
    """Read all rows."""
    return list(read_rows(source, InputMapping(**layout)))


def only(row: Any, **layout: Any) -> Row:
    """Read one row, which must be valid."""
    (found,) = rows_of([row], **layout)
    assert found.problem is None, found.problem
    return found


def problem(row: Any, **layout: Any) -> str:
    """Read one row, which must not be valid; return what is said of it."""
    (found,) = rows_of([row], **layout)
    assert found.problem is not None
    assert found.request is None
    assert found.fallback is None
    return found.problem


def body(row: Row) -> Mapping[str, Any]:
    """Return the JSON body of the request of a valid row."""
    assert row.request is not None
    return row.request.parameters


def refusal(source: Any, **layout: Any) -> str:
    """Return what is said of an input that is refused as a whole."""
    with pytest.raises(FluxRequestError) as caught:
        rows_of(source, **layout)
    return str(caught.value)


def test_a_prompt_is_a_row_with_the_defaults_of_the_operator() -> None:
    model = known_models()["flux-pro-1.1"]
    chair, lamp = (
        GenerationRequest("flux-pro-1.1", model.path, {"prompt": prompt, **SENT}, model)
        for prompt in ("a chair", "a lamp")
    )
    assert rows_of(["a chair", "a lamp"]) == [
        Row(0, "0", "flux-pro-1.1", chair, None, None),
        Row(1, "1", "flux-pro-1.1", lamp, None, None),
    ]


def test_a_row_has_the_request_that_the_operator_would_send() -> None:
    parameters = {"prompt": "a chair", "width": 512, "raw": None, "seed": 7, "user": "me"}
    expected = build_request("flux-pro-1.1", parameters).parameters
    assert body(only(parameters)) == expected


def test_rows_name_their_models_and_win_over_defaults() -> None:
    rows = rows_of(
        [
            {"prompt": "a", "model": " flux-2-pro ", "seed": 1},
            {"prompt": "b", "model": None},
            {"model": "flux-dev"},
        ],
        defaults={"seed": 7, "prompt": "all", "output_format": None},
        model="flux-pro-1.1-ultra",
    )
    assert [(row.model, body(row)["prompt"], body(row)["seed"]) for row in rows] == [
        ("flux-2-pro", "a", 1),
        ("flux-pro-1.1-ultra", "b", 7),
        ("flux-dev", "all", 7),
    ]


# --- the same rows, whatever they are read from ---

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_WORDS = _TEXT.filter(lambda text: text.strip() not in {"", "None"})


def tables() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw rows with the same columns, of which some have no value; some rows are not valid."""
    row = {
        "prompt": st.none() | _WORDS,
        "key": st.none() | st.integers(0, 20) | _WORDS,
        "width": st.none() | st.integers(200, 1500) | st.integers(8, 45).map(lambda n: 32 * n),
        "seed": st.none() | st.integers(0, 2**40),
        "prompt_upsampling": st.none() | st.booleans(),
        "fallback_prompt": st.none() | _WORDS,
        "model": st.sampled_from([None, "flux-dev", "flux-2-pro", "flux-9"]),
    }
    columns = st.lists(st.sampled_from(list(row)), min_size=1, unique=True)
    return columns.flatmap(
        lambda names: st.lists(
            st.fixed_dictionaries({name: row[name] for name in names}), min_size=1, max_size=6
        )
    )


def _of_one_type(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with keys of one type, as a Parquet file has them."""
    return [
        {
            name: str(value) if name == "key" and value is not None else value
            for name, value in row.items()
        }
        for row in rows
    ]


@given(tables(), st.booleans())
@example([{"prompt": "a\r\nb\rc\n,\"'"}], False)
@example([{"prompt": "\ufeffa"}, {"prompt": "a\x00b"}, {"prompt": " a "}], True)
@settings(deadline=None)
def test_a_list_and_each_kind_of_file_give_the_same_rows(
    table: list[dict[str, Any]], is_mapped: bool
) -> None:
    table = _of_one_type(table)
    columns = {name: f"the {name}" for name in table[0]} if is_mapped else None
    given_rows = [
        {columns[name] if columns else name: value for name, value in row.items()} for row in table
    ]
    expected = rows_of(given_rows, columns=columns)
    assert [row.index for row in expected] == list(range(len(table)))
    with tempfile.TemporaryDirectory() as folder:
        for ending, write in FILES.items():
            path = Path(folder, f"rows{ending}")
            path.write_bytes(write(given_rows))
            assert rows_of(str(path), columns=columns) == expected, ending
    assert rows_of(json.dumps(given_rows), columns=columns) == expected


@given(tables())
@settings(deadline=None)
def test_rows_are_plain_json_and_valid_as_they_are(table: list[dict[str, Any]]) -> None:
    for row in rows_of(table):
        for request in filter(None, (row.request, row.fallback)):
            stored = json.loads(json.dumps(request.parameters))
            assert stored == request.parameters
            assert build_request(request.model, stored, models=known_models()).parameters == stored
            restored = restore_request(request.model, stored, validate=True, models=known_models())
            assert restored == replace(request, warnings=())
            assert restored.fingerprint == request.fingerprint


@given(
    st.lists(
        st.none()
        | st.sampled_from(["a", " a", "a/b", "a_b", "A", "row-1", "", "0", "x" * 200])
        | _TEXT
    )
)
def test_the_first_row_with_a_key_keeps_it(keys: list[str | None]) -> None:
    table = [{"prompt": "p", "key": key} for key in keys]
    if not table:
        return
    rows = rows_of(table)
    taken: dict[str, int] = {}
    for row, key in zip(rows, keys, strict=True):
        text = (key or "").strip()
        if not text:
            assert row.problem == "key is empty"
        elif (first := taken.get(safe_name(text))) is not None:
            assert f"is taken by row {first}" in (row.problem or "")
        else:
            assert (row.key, row.problem) == (text, None)
        taken.setdefault(safe_name(row.key), row.index)
    assert len({safe_name(row.key) for row in rows}) == len(rows)


@given(st.permutations(["prompt", "key", "width", "model"]), st.integers(0, 3))
def test_columns_say_what_is_read(names: list[str], more: int) -> None:
    values = {"prompt": "a chair", "key": "k1", "width": 512, "model": "flux-dev"}
    columns = {name: f"column {at}" for at, name in enumerate(names)}
    row = {columns[name]: value for name, value in values.items()} | {
        f"more {n}": object() for n in range(more)
    }
    (read,) = rows_of([row], columns=columns)
    assert (read.key, read.model, read.problem) == ("k1", "flux-dev", None)
    assert body(read)["prompt"] == "a chair"
    assert body(read)["width"] == 512


def test_one_column_may_be_several_parameters() -> None:
    row = only(
        {"side": 512, "sku": "s1"},
        columns={"width": "side", "height": "side", "key": "sku", "prompt": "sku"},
    )
    assert (row.key, body(row)["prompt"]) == ("s1", "s1")
    assert (body(row)["width"], body(row)["height"]) == (512, 512)


def test_a_key_that_is_mapped_must_be_in_each_row() -> None:
    rows = rows_of(
        [{"sku": "a", "text": "x"}, {"text": "y"}, "z"], columns={"key": "sku", "prompt": "text"}
    )
    assert [row.problem for row in rows] == [None, "key is empty", None]
    assert [row.key for row in rows] == ["a", "row-1", "2"]


@pytest.mark.parametrize(
    ("key", "text"),
    [(17, "17"), (1.5, "1.5"), (UUID(int=1), str(UUID(int=1))), (date(2026, 11, 1), "2026-11-01")],
)
def test_a_key_may_be_of_any_type_that_is_plain_text(key: Any, text: str) -> None:
    assert only({"prompt": "a", "key": key}).key == text


@pytest.mark.parametrize(
    ("key", "said"), [(["a"], "key is list, not text"), ("k" * 2000, "longer than 1024")]
)
def test_other_keys_are_refused(key: Any, said: str) -> None:
    assert said in problem({"prompt": "a", "key": key})


# --- values ---


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
def test_values_are_sent_as_the_model_takes_them(name: str, value: Any, sent: Any) -> None:
    found = body(only({"prompt": "a", name: value}))[name]
    assert (found, type(found)) == (sent, type(sent))


@pytest.mark.parametrize(
    "value",
    [None, " ", float("nan"), np.nan, np.float64("nan"), Decimal("nan"), Decimal("sNaN"), ""],
)
def test_what_is_no_value_is_not_given(value: Any) -> None:
    assert body(only({"prompt": "a", "seed": value, "width": value})) == {"prompt": "a", **SENT}
    assert body(only({"prompt": "a", "seed": value}, defaults={"seed": 3}))["seed"] == 3


@pytest.mark.parametrize(
    "value", [True, "wide", 7.5, 33, float("inf"), b"512", {1}, [512], object(), Decimal("inf")]
)
def test_other_values_are_a_problem_that_names_them(value: Any) -> None:
    assert "width" in problem({"prompt": "a", "width": value})


def test_an_empty_prompt_or_input_is_a_mistake_and_not_the_default() -> None:
    assert "prompt is missing or empty" in problem({"prompt": " "}, defaults={"prompt": "a"})
    row = {"prompt": "a", "input_image": ""}
    assert "input_image is empty" in problem(row, model="flux-kontext-pro")
    assert "is empty" in problem(
        row, model="flux-kontext-pro", defaults={"input_image": "https://example.com/a"}
    )


def test_a_parameter_without_a_value_may_be_unknown_to_the_model() -> None:
    table = [
        {"prompt": "a", "model": "flux-pro-1.1", "width": 512, "aspect_ratio": None},
        {"prompt": "b", "model": "flux-pro-1.1-ultra", "width": None, "aspect_ratio": "1:1"},
    ]
    assert [row.problem for row in rows_of(table)] == [None, None]


def test_a_column_that_means_nothing_is_told_the_way_out() -> None:
    said = problem({"prompt": "a", "widht": 512, "width": 33})
    assert "'widht' is not a parameter of flux-pro-1.1. Did you mean 'width'" in said
    assert "columns={parameter: column}" in said
    assert "width=33" in said
    row = only({"prompt": "a", "widht": 512}, columns={"prompt": "prompt"})
    assert body(row)["width"] == 1024
    many = problem({f"c{n}": "x" * 500 for n in range(300)})
    assert "'c0', 'c1', 'c2', 'c3', 'c4' and 295 more are not parameters" in many
    assert len(many) < 1100


def test_what_is_not_checked_is_sent_as_it_is() -> None:
    row = only(
        {"prompt": "a", "new": [1, {"x": date(2026, 11, 1)}]}, model="flux-9", validate=False
    )
    assert (row.model, body(row)) == (
        "flux-9",
        {"prompt": "a", "new": [1, {"x": "2026-11-01"}]},
    )
    assert "cannot be a route" in problem({"prompt": "a", "model": "../v1"}, validate=False)


@pytest.mark.parametrize("source", ["s3://c@b/a.png", "https://example.com/a.png", "/data/a.png"])
def test_inputs_stay_the_text_that_names_them(source: str) -> None:
    row = only({"prompt": "a", "input_image": source}, model="flux-kontext-pro")
    assert body(row)["input_image"] == source
    row = only({"prompt": "a", "input_image": Path("/data/a.png")}, model="flux-kontext-pro")
    assert body(row)["input_image"] == "/data/a.png"


def test_base64_stays_and_is_not_shown() -> None:
    text = _base64(picture())
    for value in (text, InlineMedia(text)):
        row = only({"prompt": "a", "input_image": value}, model="flux-kontext-pro")
        assert body(row)["input_image"] == text
        assert text not in repr(row)
    said = problem({"prompt": "a", "input_image": f"?{text}"}, model="flux-kontext-pro")
    assert text[:100] not in said


def test_an_input_that_names_nothing_is_a_problem() -> None:
    assert "input_image is neither a URI" in problem(
        {"prompt": "a", "input_image": "a.png"}, model="flux-kontext-pro"
    )


def test_several_inputs_may_be_json_in_a_cell(tmp_path: Path) -> None:
    sources = ["https://example.com/a.png", "s3://c@b/b.png"]
    path = tmp_path / "rows.csv"
    path.write_bytes(FILES[".csv"]([{"prompt": "a", "images": json.dumps(sources)}]))
    (row,) = rows_of(str(path), model="flux-3-image")
    assert (row.problem, body(row)["images"]) == (None, sources)


# --- what is tried when a row comes to nothing ---


def test_a_fallback_has_the_parameters_of_the_row() -> None:
    row = only({"prompt": "a", "seed": 7, "fallback_prompt": "b"})
    assert row.fallback is not None
    assert row.fallback.model == "flux-pro-1.1"
    assert row.fallback.parameters == {**body(row), "prompt": "b"}


def test_another_model_gets_the_parameters_it_knows() -> None:
    row = only(
        {"prompt": "a", "seed": 7, "fallback_model": "flux-pro-1.1-ultra"}, defaults={"width": 512}
    )
    assert row.fallback is not None
    assert row.fallback.model == "flux-pro-1.1-ultra"
    assert row.fallback.parameters["seed"] == 7
    assert row.fallback.parameters["prompt"] == "a"
    assert "width" not in row.fallback.parameters
    assert only({"prompt": "a"}, defaults={"fallback_model": "flux-dev"}).fallback is not None


@pytest.mark.parametrize(
    "given_row",
    [{}, {"fallback_prompt": "a"}, {"fallback_model": "flux-pro-1.1"}, {"fallback_prompt": " "}],
)
def test_the_same_again_is_no_fallback(given_row: dict[str, Any]) -> None:
    assert only({"prompt": "a", **given_row}).fallback is None


@pytest.mark.parametrize(
    ("given_row", "said"),
    [
        ({"fallback_model": "flux-9"}, "fallback: model='flux-9' is not a known FLUX model"),
        ({"fallback_prompt": ["b"]}, "fallback: flux-kontext-pro: prompt="),
        (
            {"safety_tolerance": 6, "fallback_model": "flux-2-pro", "input_image": None},
            "fallback: flux-2-pro: safety_t",
        ),
        ({"fallback_model": "flux-pro-1.1"}, "fallback: flux-pro-1.1 does not take input_image"),
    ],
)
def test_a_fallback_that_is_not_valid_is_a_problem(given_row: dict[str, Any], said: str) -> None:
    row = {"prompt": "a", "input_image": "https://example.com/a.png", **given_row}
    assert said in problem(row, model="flux-kontext-pro")


def test_the_fallback_of_what_is_not_checked_keeps_all() -> None:
    row = only(
        {"prompt": "a", "new": 1, "fallback_model": "flux-9"}, model="flux-8", validate=False
    )
    assert row.fallback is not None
    assert (row.fallback.model, row.fallback.parameters) == ("flux-9", {"prompt": "a", "new": 1})
    assert "fallback: model=" in problem({"prompt": "a", "fallback_model": 5}, validate=False)


# --- what concerns the whole input ---


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"model": "flux-9"}, "is not a known FLUX model"),
        ({"model": "../v1", "validate": False}, "cannot be a route"),
        ({"columns": ["prompt"]}, "columns is list, not a dict"),
        (
            {"columns": {"promt": "text"}},
            "columns: 'promt' is neither a parameter of a model, nor one of",
        ),
        ({"columns": {"prompt": 5}}, "columns['prompt']=5 must be the name of a column"),
        ({"columns": {"webhook_secret": "s"}}, "columns: webhook_secret would be stored"),
        ({"defaults": ["a"]}, "defaults is list, not a dict"),
        ({"defaults": {"widht": 5}}, "Did you mean 'width'"),
        ({"defaults": {"webhook_secret": "hunter2"}}, "defaults: webhook_secret would be stored"),
        (
            {"defaults": {"webhook_secret": "hunter2"}, "validate": False},
            "defaults: webhook_secret would be stored",
        ),
        ({"defaults": {"key": "a"}}, "defaults cannot hold key"),
        ({"defaults": {"model": "flux-dev"}}, "defaults cannot hold model"),
        ({"defaults": {"seed": object()}}, "defaults: a value is of the type object"),
    ],
)
def test_a_layout_that_cannot_be_meant_is_refused_before_a_row_is_read(
    layout: dict[str, Any], said: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        read_rows(iter([1 / 1]), InputMapping(**layout))
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("validate", [True, False])
def test_a_row_with_a_secret_is_refused_without_showing_it(validate: bool) -> None:
    row = {"prompt": "a", "webhook_url": "https://example.com/h", "webhook_secret": "hunter2"}
    (read,) = rows_of([row], validate=validate)
    assert "set it in the connection" in (read.problem or "")
    assert "hunter2" not in str(read)


def test_all_problems_are_told_in_one_text() -> None:
    table = [
        {"prompt": f"p{n}", "key": f"sku-{n}", "width": 512 if n % 2 else 100} for n in range(100)
    ]
    told = describe_problems(read_rows(table, LAYOUT)).splitlines()
    assert told[0] == "50 rows are not valid:"
    assert told[1].startswith("row 0 (key 'sku-0'): flux-pro-1.1: width=100: ")
    assert told[20].startswith("row 38 (key 'sku-38'): ")
    assert told[21:] == ["... and 30 more"]
    assert describe_problems(read_rows(table[1:2], LAYOUT)) == ""
    assert describe_problems(read_rows(table[:1], LAYOUT), shown=1).startswith(
        "1 row is not valid:\nrow 0"
    )
    assert (
        max(
            map(
                len,
                describe_problems(read_rows([{"k" * 10_000: "v" * 10_000}], LAYOUT)).splitlines(),
            )
        )
        < 1200
    )


def test_special_names_are_parameters_of_no_model() -> None:
    fields = {name for model in known_models().values() for name in model.fields}
    assert not fields & set(SPECIAL_NAMES)


def test_rows_are_read_one_at_a_time() -> None:
    drawn: list[int] = []

    def prompts() -> Any:
        for n in range(1000):
            drawn.append(n)
            yield f"p{n}"

    assert [row.key for row in islice(read_rows(prompts(), LAYOUT), 3)] == ["0", "1", "2"]
    assert drawn == [0, 1, 2]


def test_what_is_kept_of_a_row_is_little(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    count, text = 20_000, "oak " * 250
    with path.open("w") as file:
        file.writelines(f'{{"prompt": "{n} {text}", "key": "k{n}"}}\n' for n in range(count))
    next(
        read_rows(str(path), LAYOUT)
    )  # what is imported and cached at the first row counts for none
    tracemalloc.start()
    try:
        assert all(row.problem is None for row in read_rows(str(path), LAYOUT))
        assert tracemalloc.get_traced_memory()[1] < count * 200 + 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
