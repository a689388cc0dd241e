"""Estimates: the published prices, and costs in published answers of the service."""

from __future__ import annotations

import io
from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.pricing import Estimate
from airflow_provider_flux.bfl.request import build_request, estimate_cost

URL = "https://a.b/c"


def estimate(model: str, inputs: dict[str, Any] | None = None, **parameters: Any) -> Estimate:
    """Return the estimate of a request, with inputs that have been read."""
    paths = dict.fromkeys(inputs or {}, "/a.bin")
    request = build_request(model, {**_prompt(model), **paths, **parameters})
    return estimate_cost(request.with_inputs(inputs or {}))


def _prompt(model: str) -> dict[str, str]:
    return {"prompt": "x"} if "prompt" in MODELS[model].fields else {}


def image(megapixels: float) -> MediaFile:
    return MediaFile("a.png", "image/png", 9, "", io.BytesIO, 1024, int(1024 * megapixels))


def video(seconds: float | None, size: tuple[int, int] = (1280, 720)) -> MediaFile:
    return MediaFile("a.mp4", "video/mp4", 9, "", io.BytesIO, *size, seconds)


SQUARE = {"width": 1024, "height": 1024}
FLAT: dict[str, tuple[float, dict[str, Any]]] = {
    "flux-pro-1.1": (4, {}),
    "flux-pro-1.1-ultra": (6, {"raw": True}),
    "flux-pro-1.1-ultra-finetuned": (7, {"finetune_id": "f"}),
    "flux-dev": (2.5, {}),
    "flux-kontext-pro": (4, {"input_image": URL}),
    "flux-kontext-max": (8, {}),
    "flux-pro-1.0-fill": (5, {"image": "/a.png"}),
    "flux-pro-1.0-fill-finetuned": (6, {"image": "/a.png", "finetune_id": "f"}),
    "flux-pro-1.0-expand": (5, {"image": "/a.png"}),
    "flux-tools/erase-v1": (3, {"image": URL, "mask": URL}),
    "flux-tools/deblur-v1": (3, {"image": URL}),
    "flux-tools/vto-v1": (4.75, {"person": URL, "garment": URL}),
    "flux-tools/vto-v2": (4.75, {"person": URL, "garment": URL}),
}


@pytest.mark.parametrize(("model", "expected"), FLAT.items())
def test_a_model_with_a_flat_price_costs_that_price(
    model: str, expected: tuple[float, dict[str, Any]]
) -> None:
    credits, parameters = expected
    assert estimate(model, **parameters) == Estimate(credits)


@pytest.mark.parametrize(
    ("model", "credits"),
    [
        ("flux-2-klein-4b", 1.4),
        ("flux-2-klein-9b", 1.5),
        ("flux-2-klein-9b-preview", 1.5),
        ("flux-2-pro", 3),
        ("flux-2-pro-preview", 3),
        ("flux-2-flex", 5),
        ("flux-2-max", 7),
    ],
)
def test_one_megapixel_of_flux_2_costs_the_price_of_the_first(model: str, credits: float) -> None:
    assert estimate(model, **SQUARE) == Estimate(credits)
    assert estimate(model, width=64, height=64) == Estimate(credits)


@pytest.mark.parametrize(
    ("size", "credits"),
    [((1024, 1024), 3), ((1440, 1440), 4.5), ((1024, 1040), 4.5), ((2048, 2048), 7.5)],
)
def test_megapixels_of_output_are_rounded_up(size: tuple[int, int], credits: float) -> None:
    """1440x1440 has 1.98 megapixels, and the service answered with a cost of 4.5 credits."""
    assert estimate("flux-2-pro", width=size[0], height=size[1]).credits == credits


@pytest.mark.parametrize(
    ("model", "inputs", "credits"),
    [
        ("flux-2-klein-4b", [1], 1.5),
        ("flux-2-pro", [1], 4.5),
        ("flux-2-pro", [1, 1], 6),
        ("flux-2-pro", [0.1], 4.5),
        ("flux-2-pro", [3.5, 0.5], 10.5),
        ("flux-2-flex", [1], 10),
        ("flux-2-max", [3], 16),
    ],
)
def test_each_input_megapixel_costs_the_price_of_a_further_one(
    model: str, inputs: list[float], credits: float
) -> None:
    names = ["input_image", "input_image_2"]
    images = {name: image(megapixels) for name, megapixels in zip(names, inputs, strict=False)}
    assert estimate(model, images, **SQUARE) == Estimate(credits)


def test_an_unknown_size_counts_as_one_megapixel_with_a_note() -> None:
    note = "an unknown size is counted as one megapixel"
    assert estimate("flux-2-pro") == Estimate(3, note)
    assert estimate("flux-2-pro", width=2048) == Estimate(3, note)
    assert estimate("flux-2-pro", input_image=URL, **SQUARE) == Estimate(4.5, note)
    assert estimate("flux-2-pro", input_image=URL) == Estimate(4.5, note)


def test_an_output_without_a_size_counts_with_the_size_of_the_first_input() -> None:
    assert estimate("flux-2-pro", {"input_image": image(1)}) == Estimate(4.5)
    assert estimate("flux-2-pro", {"input_image": image(3.5)}) == Estimate(3 + 3 * 1.5 + 4 * 1.5)
    # BFL reduces the input to 4 megapixels.
    assert estimate("flux-2-pro", {"input_image": image(19)}) == Estimate(3 + 3 * 1.5 + 4 * 1.5)


@pytest.mark.parametrize(
    ("mode", "credits"), [({}, 20), ({"mode": "high"}, 20), ({"mode": "fast"}, 4.5)]
)
def test_the_price_of_outpainting_depends_on_the_mode(mode: dict[str, str], credits: float) -> None:
    expected = Estimate(credits, "the price depends on the size of the canvas")
    assert (
        estimate("flux-tools/outpainting-v1", input_image=URL, width=64, height=64, **mode)
        == expected
    )


@pytest.mark.parametrize(
    ("model", "resolution", "credits"),
    [
        ("flux-3-image", None, 4.8),
        ("flux-3-image", "768sq", 4.1),
        ("flux-3-image", "1k", 4.8),
        ("flux-3-image", "1.5k", 7),
        ("flux-3-image", "2k", 10),
        ("flux-3-image", "4k", 60.7),
        ("flux-3-image-klein", None, 0.9),
        ("flux-3-image-klein", "1k", 0.9),
        ("flux-3-image-klein", "2k", 1.4),
        ("flux-3-image-klein", "4k", 3.6),
    ],
)
def test_the_price_of_a_flux_3_image_depends_on_the_resolution(
    model: str, resolution: str | None, credits: float
) -> None:
    parameters = {"resolution": resolution} if resolution else {}
    assert estimate(model, **parameters) == Estimate(credits)


@pytest.mark.parametrize(
    ("resolution", "bound", "credits"), [("768sq", "1k", 0.9), ("1.5k", "2k", 1.4)]
)
def test_a_price_that_is_not_published_is_estimated_by_an_upper_bound(
    resolution: str, bound: str, credits: float
) -> None:
    assert estimate("flux-3-image-klein", resolution=resolution) == Estimate(
        credits, f"the price of {resolution} is not published, so it is counted as {bound}"
    )
    assert f"{resolution} is counted as {bound}" in MODELS["flux-3-image-klein"].price.describe()


INPUT = {"t2v": {}, "i2v": {"keyframes": URL}, "v2v": {"start_video": URL}}


@pytest.mark.parametrize(
    ("mode", "parameters", "credits"),
    [
        ("t2v", {}, 85),
        ("t2v", {"resolution": "hd"}, 85),
        ("i2v", {"resolution": "fhd"}, 145),
        ("t2v", {"resolution": "qhd"}, 200),
        ("i2v", {"resolution": "uhd"}, 400),
        ("t2v", {"draft": True}, 30),
        ("i2v", {"draft": True, "resolution": "uhd"}, 30),
        ("v2v", {}, 205),
        ("v2v", {"resolution": "fhd"}, 265),
        ("v2v", {"resolution": "qhd"}, 325),
        ("v2v", {"resolution": "uhd"}, 475),
        ("v2v", {"draft": True}, 60),
        ("t2v", {"duration": 20}, 340),
    ],
)
def test_the_price_of_a_video_depends_on_mode_resolution_and_seconds(
    mode: str, parameters: dict[str, Any], credits: float
) -> None:
    request = {"mode": mode, "duration": 5, **INPUT[mode], **parameters}
    assert estimate("flux-3-video", **request) == Estimate(credits)


@pytest.mark.parametrize(
    ("mode", "seconds", "rate"), [("t2v", 20, 17), ("i2v", 20, 17), ("v2v", 15, 41)]
)
@pytest.mark.parametrize("duration", [{}, {"duration": "auto"}])
def test_a_duration_of_auto_counts_as_the_longest_video(
    mode: str, seconds: int, rate: float, duration: dict[str, str]
) -> None:
    expected = Estimate(
        seconds * rate, f"duration auto is counted as {seconds} s, the longest", at_least=5 * rate
    )
    assert estimate("flux-3-video", mode=mode, **INPUT[mode], **duration) == expected


def test_the_enhancement_of_a_draft_has_no_estimate() -> None:
    request = build_request("flux-3-video", {"mode": "draft_enhance", "draft_cache": URL})
    assert estimate_cost(request) == Estimate(None, "no price is published for mode draft_enhance")


def test_the_price_of_a_video_edit_depends_on_the_seconds_of_its_input() -> None:
    model = "flux-tools/video-edit-v1"
    assert estimate(model, {"video": video(5)}) == Estimate(15)
    assert estimate(model, {"video": video(2.5)}) == Estimate(7.5)
    note = "the length of the video is counted as 15 s"
    assert estimate(model, video=URL) == Estimate(45, note)
    assert estimate(model, {"video": video(None)}) == Estimate(45, note)


@pytest.mark.parametrize(
    ("parameters", "credits"),
    [
        ({}, 194),  # 1280x720 twice as large is 3.6864 million pixels, for 5 s, at 10.5
        ({"creativity": 0}, 138),
        ({"upscale_factor": 3}, 435),
        ({"upscale_factor": 1.5, "creativity": 0}, 78),
    ],
)
def test_an_upscaled_video_is_priced_by_second_and_megapixel_in_whole_credits(
    parameters: dict[str, Any], credits: float
) -> None:
    assert estimate(
        "flux-tools/video-upscale-v1", {"input_video": video(5)}, **parameters
    ) == Estimate(credits)


def test_an_upscaled_video_is_priced_for_at_most_20_seconds() -> None:
    longest = estimate("flux-tools/video-upscale-v1", {"input_video": video(20)})
    assert estimate("flux-tools/video-upscale-v1", {"input_video": video(90)}) == longest


def test_an_upscale_of_a_video_that_is_a_url_has_no_estimate() -> None:
    expected = estimate("flux-tools/video-upscale-v1", input_video=URL)
    assert expected == Estimate(
        None, "the price depends on the size and length of the video, which is a URL"
    )


def test_an_unknown_model_has_no_estimate() -> None:
    expected = estimate_cost(build_request("flux-9-max", {"prompt": "x"}, validate=False))
    assert (expected.credits, expected.usd) == (None, None)
    assert (
        str(expected)
        == "cost unknown before the result (flux-9-max is not in the price list of this version)"
    )


def test_the_text_of_an_estimate_says_that_it_is_one() -> None:
    assert str(Estimate(4)) == "4 credits ($0.04), estimated"
    assert str(Estimate(4.75, "of sorts")) == "4.75 credits ($0.0475), estimated: of sorts"
    assert str(Estimate(1500)) == "1500 credits ($15.00), estimated"
    assert str(Estimate(None)) == "cost unknown before the result"
    assert Estimate(85).usd == 0.85


@pytest.mark.parametrize("name", MODELS)
def test_every_model_describes_its_price_in_words(name: str) -> None:
    text = MODELS[name].price.describe()
    assert text
    assert any(character.isdigit() for character in text)
