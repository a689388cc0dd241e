"""The rules of the service about the size and length of inputs that the worker has read."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import (
    InlineMedia,
    MediaFile,
    find_media_problems,
    inputs_of,
    map_inputs,
)
from airflow_provider_flux.bfl.request import build_request

MIB = 1024 * 1024
Size = tuple[int, int]


def image(
    size: Size | None = (512, 512), size_in_bytes: int = 1000, name: str = "a.png"
) -> MediaFile:
    width, height = size or (None, None)
    return MediaFile(name, "image/png", size_in_bytes, "0" * 64, io.BytesIO, width, height)


def video(
    seconds: float | None = 5, size: Size = (640, 360), size_in_bytes: int = 1000
) -> MediaFile:
    return MediaFile("a.mp4", "video/mp4", size_in_bytes, "0" * 64, io.BytesIO, *size, seconds)


def problems(name: str, **parameters: Any) -> list[str]:
    return find_media_problems(MODELS[name], parameters)


@pytest.mark.parametrize(
    "model", ["flux-pro-1.0-fill", "flux-pro-1.0-fill-finetuned", "flux-tools/erase-v1"]
)
@pytest.mark.parametrize("mask", [(511, 512), (512, 511), (256, 256), (512, 1024)])
def test_a_mask_must_have_the_size_of_its_image(model: str, mask: Size) -> None:
    assert problems(model, image=image(), mask=image(mask)) == ["Mask must have the size of image"]
    assert problems(model, image=image(mask), mask=image(mask)) == []


def test_a_mask_is_not_compared_with_an_image_that_is_a_url() -> None:
    assert problems("flux-tools/erase-v1", image="https://a.b/c.png", mask=image()) == []
    assert problems("flux-tools/erase-v1", image=image(), mask="https://a.b/c.png") == []
    assert problems("flux-pro-1.0-fill", image=image()) == []


@pytest.mark.parametrize("model", ["flux-pro-1.1", "flux-pro-1.1-ultra", "flux-dev"])
@pytest.mark.parametrize("size", [(255, 256), (256, 255), (1, 4000)])
def test_an_image_prompt_below_the_shortest_side_is_refused(model: str, size: Size) -> None:
    problem = "Image_prompt dimensions must be at least 256x256 pixels"
    assert problems(model, image_prompt=image(size)) == [problem]
    assert problems(model, image_prompt=image((256, 256))) == []


def test_images_other_than_an_image_prompt_may_be_small() -> None:
    assert problems("flux-2-pro", input_image=image((8, 8))) == []
    assert problems("flux-kontext-pro", input_image=image((8, 8))) == []


def test_an_image_of_more_than_20_mb_or_20_megapixels_is_refused() -> None:
    assert problems("flux-2-pro", input_image=image((5000, 4000), 20 * MIB)) == []
    assert problems("flux-2-pro", input_image=image((64, 64), 20 * MIB + 1)) == [
        "Input_image must not be larger than 20 MB"
    ]
    assert problems("flux-2-pro", input_image_8=image((5000, 4001))) == [
        "Input_image_8 must not have more than 20 megapixels"
    ]


def test_each_image_of_a_list_is_checked() -> None:
    images = [
        image((256, 256)),
        image((5000, 5000)),
        "https://a.b/c.png",
        image((4096, 4096), 21 * MIB),
        image((4096, 255)),
    ]
    assert problems("flux-3-image", images=images) == [
        "Images must not have more than 16.8 megapixels",
        "Images must not be larger than 20 MB",
        "Images dimensions must be at least 256x256 pixels",
    ]


@pytest.mark.parametrize(
    "frames",
    [image((5000, 5000)), [0.5, image((5000, 5000))], [[0, image()], [1.5, image((5000, 5000))]]],
)
def test_keyframes_are_checked_in_every_form(frames: Any) -> None:
    assert problems("flux-3-video", keyframes=frames) == [
        "Keyframes must not have more than 20 megapixels"
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_the_images_of_a_list_may_differ_in_size(count: int) -> None:
    images = [image((256 * n, 256)) for n in range(1, count + 1)]
    assert problems("flux-3-image", images=images) == []
    assert problems("flux-3-video", keyframes=images) == []


def test_a_video_to_edit_that_breaks_a_limit_is_refused() -> None:
    model = "flux-tools/video-edit-v1"
    assert problems(model, video=video(15, (160, 160), 50 * MIB)) == []
    assert problems(model, video=video(15.03)) == []  # the sound of a clip is often a little longer
    assert problems(model, video=video(15.6)) == ["Video must not be longer than 15 seconds"]
    assert problems(model, video=video(5, (160, 158))) == [
        "Video dimensions must be at least 160x160 pixels"
    ]
    assert problems(model, video=video(5, size_in_bytes=50 * MIB + 1)) == [
        "Video must not be larger than 50 MB"
    ]
    assert len(problems(model, video=video(60, (8, 8), 60 * MIB))) == 3


def test_a_video_to_upscale_of_more_than_2560_times_1440_pixels_is_refused() -> None:
    model = "flux-tools/video-upscale-v1"
    assert problems(model, input_video=video(20, (2560, 1440))) == []
    assert problems(model, input_video=video(20, (1440, 2560))) == []
    assert problems(model, input_video=video(20, (2562, 1440))) == [
        "Input_video must not have more than 3.69 megapixels"
    ]


def test_an_input_of_unknown_size_is_not_refused() -> None:
    assert problems("flux-tools/video-edit-v1", video=video(None)) == []
    assert problems("flux-pro-1.1", image_prompt=image(None)) == []
    assert problems("flux-2-pro", input_image="https://a.b/c.png", input_image_2=None) == []
    assert problems("flux-2-pro", prompt="x") == []


def outpainting(image_size: Size, canvas: Size, **parameters: Any) -> bool:
    """Whether an image may have this position on the canvas."""
    parameters = {
        "input_image": image(image_size),
        "width": canvas[0],
        "height": canvas[1],
        **parameters,
    }
    return problems("flux-tools/outpainting-v1", **parameters) == []


def is_inside(offset: int | None, side: int, room: int) -> bool:
    """Whether every pixel of a side is on the canvas, checked pixel by pixel."""
    # A centered image is inside if any offset is possible.
    offsets = range(room) if offset is None else [offset]
    return any(all(0 <= start + pixel < room for pixel in range(side)) for start in offsets)


sides, rooms = st.integers(1, 12), st.integers(1, 12)
offsets = st.none() | st.integers(-3, 14)


@given(sides, sides, rooms, rooms, offsets, offsets)
@example(12, 12, 12, 12, None, None)
@example(12, 12, 12, 12, 0, 0)
@example(12, 12, 12, 12, 1, 0)
@example(1, 1, 12, 12, 11, -1)
def test_an_image_is_refused_exactly_if_a_pixel_is_outside_the_canvas(
    width: int, height: int, across: int, down: int, x: int | None, y: int | None
) -> None:
    expected = is_inside(x, width, across) and is_inside(y, height, down)
    offset = {"reference_offset_x": x, "reference_offset_y": y}
    assert outpainting((width, height), (across, down), **offset) is expected
    parameters = {name: value for name, value in offset.items() if value is not None}
    assert outpainting((width, height), (across, down), **parameters) is expected
    assert outpainting((width, height), (across, down), **offset, auto_crop=True)


def test_an_image_outside_its_canvas_is_reported_with_both_sizes_and_the_remedy() -> None:
    [problem] = problems(
        "flux-tools/outpainting-v1", input_image=image((800, 600)), width=640, height=640
    )
    assert problem.startswith("Input_image of 800x600 is not inside the canvas of 640x640")
    assert "auto_crop" in problem


def test_an_image_that_is_a_url_is_not_compared_with_its_canvas() -> None:
    parameters = {"input_image": "https://a.b/c.png", "width": 64, "height": 64}
    assert problems("flux-tools/outpainting-v1", **parameters) == []
    assert problems("flux-tools/outpainting-v1", **{**parameters, "input_image": image(None)}) == []


def test_one_error_names_all_faults_of_the_inputs() -> None:
    request = build_request("flux-pro-1.0-fill", {"image": "/a.png", "mask": "/b.png"})
    inputs = {"image": image(size_in_bytes=21 * MIB), "mask": image((8, 8), name="b.png")}
    with pytest.raises(FluxRequestError) as caught:
        request.with_inputs(inputs)
    assert str(caught.value) == (
        "flux-pro-1.0-fill: Image must not be larger than 20 MB; Mask must have the size of "
        "image. Given: image=<image/png 512x512, 22020096 bytes, from a.png>, mask=<image/png "
        "8x8, 1000 bytes, from b.png>"
    )


def test_limits_of_inputs_do_not_apply_with_validate_false() -> None:
    request = build_request("flux-pro-1.1", {"image_prompt": "/a.png"}, validate=False)
    assert request.with_inputs({"image_prompt": image((8, 8), 30 * MIB)}).is_prepared


def test_inputs_are_found_in_every_form_of_a_field() -> None:
    first, second = image(), image((8, 8))
    model = MODELS["flux-3-video"]
    for value, expected in [
        (first, [first]),
        ([1.5, first], [first]),
        ([first, second], [first, second]),
        ([[0, first], (2, second)], [first, second]),
        ("https://a.b/c", ["https://a.b/c"]),
    ]:
        assert inputs_of(model, {"keyframes": value, "prompt": "x"}) == {"keyframes": expected}
    assert inputs_of(model, {"keyframes": [], "prompt": "x", "start_video": None}) == {}


def test_map_inputs_replaces_each_input_and_keeps_the_shape_of_the_field() -> None:
    assert map_inputs([[0, "a"], (1.5, "b")], str.upper) == [[0, "A"], [1.5, "B"]]
    assert map_inputs("a", str.upper) == "A"


def test_base64_is_shown_only_by_its_length() -> None:
    media = InlineMedia("aGlkZGVu")
    assert str(media) == repr(media) == f"{media}" == "<base64 text of 8 characters>"
    assert "hidden" not in repr([media])
    assert "aGlk" not in repr({"image": media})


def test_an_input_file_is_shown_with_type_size_and_source() -> None:
    assert str(image()) == "<image/png 512x512, 1000 bytes, from a.png>"
    assert str(image(None)) == "<image/png, 1000 bytes, from a.png>"
    assert "BytesIO" not in repr(image())
