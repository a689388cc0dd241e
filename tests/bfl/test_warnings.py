"""Parameters that the service may refuse or change have a warning, and are sent."""

from __future__ import annotations

import io
from typing import Any

import pytest

from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.request import GenerationRequest, build_request

URL = "https://a.b/c.png"


def warnings(model: str, **parameters: Any) -> list[str]:
    return list(build_request(model, {"prompt": "x", **parameters}).warnings)


@pytest.mark.parametrize(
    "model", ["flux-2-pro", "flux-2-max", "flux-2-flex", "flux-2-klein-4b", "flux-2-pro-preview"]
)
def test_a_side_that_is_not_a_multiple_of_16_is_warned_of(model: str) -> None:
    assert warnings(model, width=1000, height=1024) == [
        "width=1000 is not a multiple of 16: the service may round it or refuse it"
    ]
    assert len(warnings(model, width=1000, height=1001)) == 2
    assert warnings(model, height=1040) == []


def test_an_output_of_more_than_four_megapixels_is_warned_of() -> None:
    assert warnings("flux-2-max", width=2048, height=2048) == []
    [warning] = warnings("flux-2-max", width=2064, height=2048)
    assert warning == "2064x2048 is more than 4 megapixels: the service may reduce it or refuse it"


def test_models_with_size_limits_in_their_schema_have_no_size_warnings() -> None:
    assert warnings("flux-pro-1.1", width=1440, height=1440) == []
    size = {"input_image": URL, "width": 5000, "height": 5001}
    assert warnings("flux-tools/outpainting-v1", **size) == []


@pytest.mark.parametrize(
    ("ratio", "is_unusual"), [("21:9", False), ("9:21", False), ("4:1", True), ("1:4", True)]
)
def test_an_unusual_aspect_ratio_of_kontext_is_warned_of(ratio: str, is_unusual: bool) -> None:
    sentences = warnings("flux-kontext-max", aspect_ratio=ratio)
    assert sentences == (
        [f"aspect_ratio={ratio!r} is not between 21:9 and 9:21: the service may refuse it"]
        * is_unusual
    )


def test_a_tolerance_above_two_with_an_input_of_kontext_is_warned_of() -> None:
    assert warnings("flux-kontext-pro", safety_tolerance=6) == []
    assert warnings("flux-kontext-pro", safety_tolerance=2, input_image=URL) == []
    [warning] = warnings("flux-kontext-pro", safety_tolerance=3, input_image=URL)
    assert warning == "safety_tolerance=3: with an input image the service may allow at most 2"


@pytest.mark.parametrize(("tolerance", "count"), [(0, 0), (4, 0), (5, 1), (7, 1)])
def test_a_tolerance_on_which_the_statements_about_flux_3_image_differ_is_warned_of(
    tolerance: int, count: int
) -> None:
    sentences = warnings("flux-3-image", safety_tolerance=tolerance)
    assert sentences == count * [
        f"safety_tolerance={tolerance}: the service may allow at most 4, because BFL's statements "
        "differ"
    ]
    assert warnings("flux-3-image-klein", safety_tolerance=tolerance) == []


def test_a_draft_in_a_larger_resolution_is_warned_of() -> None:
    draft = {"mode": "t2v", "draft": True}
    assert warnings("flux-3-video", **draft) == []
    assert warnings("flux-3-video", **draft, resolution="hd") == []
    assert warnings("flux-3-video", mode="t2v", resolution="uhd") == []
    [warning] = warnings("flux-3-video", **draft, resolution="uhd")
    assert warning == (
        "resolution='uhd': the service may refuse it for a draft, or generate the draft in hd"
    )


@pytest.mark.parametrize("model", ["flux-pro-1.1", "flux-2-pro", "flux-kontext-pro"])
def test_a_webhook_that_is_not_https_is_warned_of(model: str) -> None:
    assert warnings(model, webhook_url="https://a.b/c") == []
    assert warnings(model, webhook_url="HTTP://a.b/c") == [
        "webhook_url is not https: the service may refuse it"
    ]


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ([], None),
        (["input_image"], None),
        (["input_image", "input_image_2", "input_image_3"], None),
        (["input_image_2"], "input_image"),
        (["input_image", "input_image_3"], "input_image_2"),
        (["input_image", "input_image_2", "input_image_8"], "input_image_3"),
    ],
)
def test_a_gap_between_reference_images_is_warned_of(
    fields: list[str], missing: str | None
) -> None:
    sentences = warnings("flux-2-pro", **dict.fromkeys(fields, URL))
    assert [sentence.partition(" ")[0] for sentence in sentences] == ([missing] if missing else [])
    assert all("prompts count the images in order" in sentence for sentence in sentences)


def build_prepared(model: str, field: str, file: MediaFile, **parameters: Any) -> GenerationRequest:
    return build_request(model, {"prompt": "x", field: "/a.bin", **parameters}).with_inputs(
        {field: file}
    )


def video(seconds: float | None) -> MediaFile:
    return MediaFile("a.mp4", "video/mp4", 9, "", io.BytesIO, 640, 360, seconds)


@pytest.mark.parametrize(("seconds", "count"), [(5, 0), (20, 0), (None, 0), (20.1, 1), (90, 1)])
def test_a_video_longer_than_the_upscaled_part_is_warned_of(
    seconds: float | None, count: int
) -> None:
    request = build_prepared("flux-tools/video-upscale-v1", "input_video", video(seconds))
    assert len(request.warnings) == count
    assert all("only 20 s are upscaled" in sentence for sentence in request.warnings)


@pytest.mark.parametrize(("inputs", "count"), [(8, 0), (9, 1)])
def test_more_than_nine_megapixels_of_inputs_and_output_are_warned_of(
    inputs: int, count: int
) -> None:
    image = MediaFile("a.png", "image/png", 9, "", io.BytesIO, 1024, 1024 * inputs)
    request = build_prepared("flux-2-pro", "input_image", image, width=1024, height=1024)
    assert len(request.warnings) == count
    request = build_prepared("flux-3-image", "images", image)
    assert request.warnings == ()


def test_warnings_of_parameters_and_of_inputs_add_up() -> None:
    image = MediaFile("a.png", "image/png", 9, "", io.BytesIO, 4096, 4096)
    assert (
        len(build_prepared("flux-2-pro", "input_image_2", image, width=1000, height=1024).warnings)
        == 3
    )


def test_a_request_with_validate_false_has_no_warnings() -> None:
    assert build_request("flux-2-pro", {"width": 1000}, validate=False).warnings == ()
