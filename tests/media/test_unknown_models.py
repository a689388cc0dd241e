"""Tests of the inputs of unknown models, with ``validate=False``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxInputError, FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia, MediaFile
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.media.prepare import prepare_inputs
from tests.support.sample_media import MIB, encode_base64, make_image, make_large_image, make_video

URL = "https://images.example/a.png?sig=abc"


def ready(parameters: dict[str, Any], model: str = "flux-9-max") -> dict[str, Any]:
    """Return the parameters of a prepared request, with bytes in place of the files."""
    with prepare_inputs(
        build_request(model, parameters, validate=False), FluxSettings("bfl_x")
    ) as one:
        return {name: content(value) for name, value in one.parameters.items()}


def content(value: Any) -> Any:
    if isinstance(value, list):
        return [content(item) for item in value]
    if isinstance(value, MediaFile):
        with value.open() as file:
            return file.read()
    return value


def put(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return f"file://{folder}/{name}"


def test_a_field_of_an_unknown_model_reads_store_files_and_hidden_base64(tmp_path: Path) -> None:
    given = {
        "picture": put(tmp_path, "a.png", make_image()),
        "film": put(tmp_path, "a.mp4", make_video()),
        "draft": put(tmp_path, "a.draft.bin", b"whatever it is"),
        "several": [put(tmp_path, "b.png", make_image(shade=1)), URL],
        "timed": [[0, put(tmp_path, "c.png", make_image(shade=2))], (1.5, URL)],
        "literal": InlineMedia(encode_base64(make_image())),
    }
    assert ready(given) == {
        "picture": make_image(),
        "film": make_video(),
        "draft": b"whatever it is",
        "several": [make_image(shade=1), URL],
        "timed": [[0, make_image(shade=2)], [1.5, URL]],
        "literal": make_image(),
    }


@pytest.mark.parametrize("scheme", ["file", "FILE", "local"])
def test_a_scheme_of_an_input_is_recognized_in_any_case(tmp_path: Path, scheme: str) -> None:
    """Fault 28: the path was sent to BFL as text."""
    path = put(tmp_path, "a.png", make_image()).partition("://")[2]
    assert ready({"picture": f"{scheme}://{path}"}) == {"picture": make_image()}


@pytest.mark.parametrize("uri", ["file://a.png", "file://{{ x }}/a.png", "file:///nowhere/a.png"])
def test_a_file_that_cannot_be_read_is_named_with_its_parameter(uri: str) -> None:
    """Fault 28: no raw error of Python."""
    with pytest.raises((FluxRequestError, FluxInputError), match="picture"):
        ready({"picture": uri})


def test_other_values_of_an_unknown_model_are_sent_unchanged() -> None:
    given = {
        "style": "/not/an/input",
        "url": URL,
        "size": 7,
        "deep": {"uri": "s3://bucket/key"},
        "nothing": "",
    }
    assert ready(given) == given


@pytest.mark.parametrize("name", ["prompt", "user", "webhook_url", "webhook_secret"])
def test_plain_text_of_an_unknown_model_never_names_a_file_to_read(name: str) -> None:
    assert ready({name: "file:///etc/hosts"}) == {name: "file:///etc/hosts"}


@pytest.mark.parametrize("name", ["secrets.txt", "secrets.mp4"])
def test_a_file_that_is_neither_image_nor_video_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FluxRequestError) as caught:
        ready({"picture": put(tmp_path, name, b"hidden text")})
    assert "is not an image" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_an_unknown_model_has_no_limits_of_a_known_one(tmp_path: Path) -> None:
    data = make_large_image(21 * MIB, "png")
    assert ready({"image_prompt": put(tmp_path, "a.png", data)}, "flux-pro-1.1") == {
        "image_prompt": data
    }
