"""Requests and fallbacks that are built from rows."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from airflow_provider_flux.batch.input.requests import restore_request
from airflow_provider_flux.bfl.inputs import InlineMedia
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.configured_models import known_models
from tests.support.batch_inputs import (
    FILES,
    body_of,
    read_all_rows,
    read_problem,
    read_valid_row,
    tables_of_rows,
)
from tests.support.sample_media import make_image


@given(tables_of_rows())
@settings(deadline=None)
def test_a_request_of_a_row_survives_storage_as_json(table: list[dict[str, Any]]) -> None:
    for row in read_all_rows(table):
        for request in filter(None, (row.request, row.fallback)):
            stored = json.loads(json.dumps(request.parameters))
            assert stored == request.parameters
            assert build_request(request.model, stored, models=known_models()).parameters == stored
            restored = restore_request(request.model, stored, validate=True, models=known_models())
            assert restored == replace(request, warnings=())
            assert restored.fingerprint == request.fingerprint


def test_an_empty_prompt_or_input_is_a_problem_even_if_there_is_a_default() -> None:
    assert "prompt is missing or empty" in read_problem({"prompt": " "}, defaults={"prompt": "a"})
    row = {"prompt": "a", "input_image": ""}
    assert "input_image is empty" in read_problem(row, model="flux-kontext-pro")
    assert "is empty" in read_problem(
        row, model="flux-kontext-pro", defaults={"input_image": "https://example.com/a"}
    )


def test_a_parameter_without_a_value_may_be_unknown_to_the_model() -> None:
    table = [
        {"prompt": "a", "model": "flux-pro-1.1", "width": 512, "aspect_ratio": None},
        {"prompt": "b", "model": "flux-pro-1.1-ultra", "width": None, "aspect_ratio": "1:1"},
    ]
    assert [row.problem for row in read_all_rows(table)] == [None, None]


def test_an_unknown_column_is_a_problem_with_the_remedy() -> None:
    message = read_problem({"prompt": "a", "widht": 512, "width": 33})
    assert "'widht' is not a parameter of flux-pro-1.1. Did you mean 'width'" in message
    assert "columns={parameter: column}" in message
    assert "width=33" in message
    row = read_valid_row({"prompt": "a", "widht": 512}, columns={"prompt": "prompt"})
    assert body_of(row)["width"] == 1024
    many = read_problem({f"c{n}": "x" * 500 for n in range(300)})
    assert "'c0', 'c1', 'c2', 'c3', 'c4' and 295 more are not parameters" in many
    assert len(many) < 1100


def test_without_validation_the_parameters_are_sent_unchanged() -> None:
    row = read_valid_row(
        {"prompt": "a", "new": [1, {"x": date(2026, 11, 1)}]}, model="flux-9", validate=False
    )
    assert (row.model, body_of(row)) == (
        "flux-9",
        {"prompt": "a", "new": [1, {"x": "2026-11-01"}]},
    )
    assert "cannot be a route" in read_problem({"prompt": "a", "model": "../v1"}, validate=False)


@pytest.mark.parametrize("source", ["s3://c@b/a.png", "https://example.com/a.png", "/data/a.png"])
def test_an_input_stays_the_text_that_names_it(source: str) -> None:
    row = read_valid_row({"prompt": "a", "input_image": source}, model="flux-kontext-pro")
    assert body_of(row)["input_image"] == source
    row = read_valid_row(
        {"prompt": "a", "input_image": Path("/data/a.png")}, model="flux-kontext-pro"
    )
    assert body_of(row)["input_image"] == "/data/a.png"


def test_base64_of_an_input_is_kept_and_never_shown() -> None:
    text = _base64(make_image())
    for value in (text, InlineMedia(text)):
        row = read_valid_row({"prompt": "a", "input_image": value}, model="flux-kontext-pro")
        assert body_of(row)["input_image"] == text
        assert text not in repr(row)
    message = read_problem({"prompt": "a", "input_image": f"?{text}"}, model="flux-kontext-pro")
    assert text[:100] not in message


def test_an_input_that_is_neither_a_uri_nor_a_path_is_a_problem() -> None:
    assert "input_image is neither a URI" in read_problem(
        {"prompt": "a", "input_image": "a.png"}, model="flux-kontext-pro"
    )


def test_a_csv_cell_may_hold_several_inputs_as_json(tmp_path: Path) -> None:
    sources = ["https://example.com/a.png", "s3://c@b/b.png"]
    path = tmp_path / "rows.csv"
    path.write_bytes(FILES[".csv"]([{"prompt": "a", "images": json.dumps(sources)}]))
    (row,) = read_all_rows(str(path), model="flux-3-image")
    assert (row.problem, body_of(row)["images"]) == (None, sources)


def test_a_fallback_has_the_parameters_of_the_row() -> None:
    row = read_valid_row({"prompt": "a", "seed": 7, "fallback_prompt": "b"})
    assert row.fallback is not None
    assert row.fallback.model == "flux-pro-1.1"
    assert row.fallback.parameters == {**body_of(row), "prompt": "b"}


def test_a_fallback_model_gets_the_parameters_that_it_knows() -> None:
    row = read_valid_row(
        {"prompt": "a", "seed": 7, "fallback_model": "flux-pro-1.1-ultra"}, defaults={"width": 512}
    )
    assert row.fallback is not None
    assert row.fallback.model == "flux-pro-1.1-ultra"
    assert row.fallback.parameters["seed"] == 7
    assert row.fallback.parameters["prompt"] == "a"
    assert "width" not in row.fallback.parameters
    assert (
        read_valid_row({"prompt": "a"}, defaults={"fallback_model": "flux-dev"}).fallback
        is not None
    )


@pytest.mark.parametrize(
    "values",
    [{}, {"fallback_prompt": "a"}, {"fallback_model": "flux-pro-1.1"}, {"fallback_prompt": " "}],
)
def test_the_same_request_is_no_fallback(values: dict[str, Any]) -> None:
    assert read_valid_row({"prompt": "a", **values}).fallback is None


@pytest.mark.parametrize(
    ("values", "message"),
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
def test_a_fallback_that_is_not_valid_makes_its_row_invalid(
    values: dict[str, Any], message: str
) -> None:
    row = {"prompt": "a", "input_image": "https://example.com/a.png", **values}
    assert message in read_problem(row, model="flux-kontext-pro")


def test_without_validation_a_fallback_keeps_all_parameters() -> None:
    row = read_valid_row(
        {"prompt": "a", "new": 1, "fallback_model": "flux-9"}, model="flux-8", validate=False
    )
    assert row.fallback is not None
    assert (row.fallback.model, row.fallback.parameters) == ("flux-9", {"prompt": "a", "new": 1})
    assert "fallback: model=" in read_problem({"prompt": "a", "fallback_model": 5}, validate=False)


@pytest.mark.parametrize("validate", [True, False])
def test_a_row_with_a_webhook_secret_is_refused_without_showing_it(validate: bool) -> None:
    row = {"prompt": "a", "webhook_url": "https://example.com/h", "webhook_secret": "hunter2"}
    (read,) = read_all_rows([row], validate=validate)
    assert "Set it in the connection" in (read.problem or "")
    assert "hunter2" not in str(read)


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("name", ["webhook_url", "Webhook_URL", "webhook_headers"])
def test_a_row_cannot_set_a_webhook(name: str, validate: bool) -> None:
    """Fault 4: a row of a stranger would get the results, and the secret of the connection."""
    row = {"prompt": "a", name: "https://evil.example/h"}
    (read,) = read_all_rows([row], validate=validate)
    assert "webhook_url cannot come from a row" in (read.problem or "")
    (plain,) = read_all_rows([{"prompt": "a", name: None}], validate=validate)
    assert plain.request is not None


def test_all_rows_share_the_webhook_of_the_defaults() -> None:
    hook = "https://hooks.example.com/h"
    (read,) = read_all_rows([{"prompt": "a"}], defaults={"webhook_url": hook})
    assert read.request is not None
    assert read.request.parameters["webhook_url"] == hook


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
