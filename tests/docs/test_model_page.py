"""docs/models.md equals the catalog, and its examples and rules are correct."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS, Model
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.operators.request_arguments import NAMED_PARAMETERS
from scripts import model_page
from scripts.model_page import examples, words
from scripts.model_page.tables import ARGUMENTS

PAGE = (model_page.ROOT / model_page.PAGE).read_text(encoding="utf-8")
SECTIONS = {
    part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def test_the_model_page_equals_the_catalog() -> None:
    assert model_page.main(["--check"]) == 0


def test_a_stale_model_page_is_reported_and_renewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    assert model_page.main(["--check"], tmp_path) == 1
    assert "docs/models.md is stale. Run 'make docs'" in capsys.readouterr().err
    assert not (tmp_path / "docs" / "models.md").exists()
    assert model_page.main([], tmp_path) == 0
    assert (tmp_path / "docs" / "models.md").read_text() == PAGE
    assert model_page.main(["--check"], tmp_path) == 0


@each_model
def test_every_model_is_in_the_table_of_the_model_page(model: Model) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| [`{model.name}`](#")]
    assert model.price.describe() in row
    assert f"(#{model_page.heading_anchor(model.name)})" in row


@each_model
def test_every_parameter_is_in_the_section_of_its_model(model: Model) -> None:
    section = SECTIONS[model.name]
    assert f"Route: `{model.path}`" in section
    for schema in model.modes.values() or [model.schema]:
        (table,) = [
            rows
            for rows in tables(section)
            if len(rows) == len(schema.model_fields) and mentions(rows, schema)
        ]
        for name, row in table.items():
            assert schema.model_fields[name].description in row


def tables(section: str) -> list[dict[str, str]]:
    """Return the tables of a section, as rows by the name of the parameter."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", section, flags=re.MULTILINE)
    return [
        dict(re.findall(r"^\| \*{0,2}`(\w+)`\*{0,2} (.*)$", block, flags=re.MULTILINE))
        for block in blocks
    ]


def mentions(table: dict[str, str], schema: Any) -> bool:
    mode = schema.model_fields.get("mode")
    is_of_mode = mode is None or "mode" not in table or f"| {mode.description} |" in table["mode"]
    return set(table) == set(schema.model_fields) and is_of_mode


def test_the_model_page_has_an_example_for_each_model_and_mode() -> None:
    assert len(EXAMPLES) == sum(len(model.modes) or 1 for model in MODELS.values())
    assert {arguments(code)["model"] for code in EXAMPLES} == set(MODELS)


def arguments(code: str) -> dict[str, Any]:
    """Return the arguments of a call with literals."""
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.unparse(call.func) == "FluxGenerateOperator"
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


@pytest.mark.parametrize("code", EXAMPLES)
def test_every_example_of_the_model_page_is_accepted(code: str) -> None:
    call = arguments(code)
    request = FluxGenerateOperator(**call)._build_request()
    assert request.path == MODELS[call["model"]].path
    assert request.warnings == ()


def test_the_bold_parameters_of_the_model_page_are_arguments_of_the_operator() -> None:
    assert set(ARGUMENTS) == set(NAMED_PARAMETERS)


def file(width: int = 1024, height: int = 768, seconds: float | None = None) -> MediaFile:
    return MediaFile("test", "image/png", 1, "0" * 64, io.BytesIO, width, height, seconds)


def build_checked(model: str, parameters: dict[str, Any]) -> GenerationRequest:
    """Build a request and check it as if its inputs had been read."""
    media = {
        name: value for name, value in parameters.items() if name in MODELS[model].media_fields
    }
    return build_request(model, parameters).with_inputs(media)


#: A request that breaks each rule of the page, by the beginning of the rule.
REFUSED = {
    "An empty `prompt`, unless": ("flux-pro-1.1", {}),
    "A `mask` whose size": ("flux-pro-1.0-fill", {"image": file(), "mask": file(640, 480)}),
    "An `input_image` outside": (
        "flux-tools/outpainting-v1",
        {"input_image": file(), "width": 512, "height": 512},
    ),
    "A parameter of another mode.": (
        "flux-3-video",
        {"mode": "t2v", "prompt": "x", "keyframes": "/a.png"},
    ),
    "Three or more `keyframes`": (
        "flux-3-video",
        {"mode": "i2v", "prompt": "x", "keyframes": ["/a", "/b", "/c"]},
    ),
    "Keyframes with and without": (
        "flux-3-video",
        {"mode": "i2v", "prompt": "x", "keyframes": [[0, "/a"], "/b"]},
    ),
    "A side of more than 8192": ("flux-2-pro", {"prompt": "x", "width": 8208, "height": 64}),
}
KONTEXT = {"prompt": "x", "input_image": file()}
WARNED = {
    "A `width` or `height`": ("flux-2-pro", {"prompt": "x", "width": 1000, "height": 1024}),
    "More than 4 megapixels": ("flux-2-max", {"prompt": "x", "width": 4096, "height": 2048}),
    "An `aspect_ratio` that": ("flux-kontext-pro", {**KONTEXT, "aspect_ratio": "5:1"}),
    "A `safety_tolerance` above 2": ("flux-kontext-max", {**KONTEXT, "safety_tolerance": 3}),
    "A `safety_tolerance` above 4": ("flux-3-image", {"prompt": "x", "safety_tolerance": 5}),
    "A draft in another": (
        "flux-3-video",
        {"mode": "t2v", "prompt": "x", "draft": True, "resolution": "uhd"},
    ),
    "A gap in `input_image`": ("flux-2-klein-4b", {"prompt": "x", "input_image_2": file()}),
    "A video of more than 20 s": (
        "flux-tools/video-upscale-v1",
        {"input_video": file(seconds=21.0)},
    ),
}


@pytest.mark.parametrize("rule", words.REFUSED, ids=lambda rule: rule.text)
def test_a_request_that_the_model_page_calls_refused_is_refused(rule: words.Rule) -> None:
    (model, parameters), *_ = [
        case for start, case in REFUSED.items() if rule.text.startswith(start)
    ]
    assert rule.applies(MODELS[model])
    with pytest.raises(FluxRequestError):
        build_checked(model, parameters)


@pytest.mark.parametrize("rule", words.WARNED, ids=lambda rule: rule.text)
def test_a_request_that_the_model_page_calls_warned_has_a_warning(rule: words.Rule) -> None:
    (model, parameters), *_ = [
        case for start, case in WARNED.items() if rule.text.startswith(start)
    ]
    assert rule.applies(MODELS[model])
    assert len(build_checked(model, parameters).warnings) == 1


def test_the_model_page_rule_of_nine_megapixels_is_a_warning() -> None:
    assert (
        len(build_checked("flux-2-pro", {"prompt": "x", "input_image": file(4000, 3000)}).warnings)
        == 1
    )


@each_model
def test_a_prompt_is_required_unless_the_model_page_says_otherwise(model: Model) -> None:
    if model.modes or "prompt" not in model.fields:
        return
    required = {name for name, info in model.schema.model_fields.items() if info.is_required()} - {
        "prompt"
    }
    parameters = {
        name: "/x" if name in model.media_fields else examples.VALUES.get(name, "x")
        for name in required
    }
    may_be_missing = "`prompt` may be missing." in SECTIONS[model.name]
    if may_be_missing:
        build_request(model.name, parameters)
    else:
        with pytest.raises(FluxRequestError, match="prompt is missing"):
            build_request(model.name, parameters)
