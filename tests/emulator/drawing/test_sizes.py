"""The size of images, and the cost that depends on it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator.drawing.sizes import image_size, reduce_size
from tests.emulator.conftest import Client
from tests.support.emulator_media import decode_image, encode_base64, plain_image, quarters_image

WIDE = encode_base64(quarters_image((808, 408)))
SMALL = encode_base64(plain_image(size=(320, 240)))
PHOTO = encode_base64(plain_image(size=(640, 480)))
MASK = encode_base64(plain_image(size=(808, 408)))

SIZES = [
    ("flux-2-pro", {"input_image": WIDE}, (800, 400), "JPEG"),
    ("flux-2-pro", {"input_image": WIDE, "width": 512, "height": 256}, (512, 256), "JPEG"),
    ("flux-2-pro", {"input_image": WIDE, "height": 256}, (800, 256), "JPEG"),
    ("flux-2-pro", {"width": 1000, "height": 100}, (992, 96), "JPEG"),
    ("flux-2-pro", {"width": 4096, "height": 4096}, (2048, 2048), "JPEG"),
    ("flux-2-flex", {"width": 64, "height": 10**400}, (16, 16000), "JPEG"),
    (
        "flux-2-klein-4b",
        {"input_image": encode_base64(plain_image(size=(3000, 3000)))},
        (2048, 2048),
        "JPEG",
    ),
    ("flux-kontext-pro", {"input_image": WIDE}, (1456, 736), "PNG"),
    ("flux-kontext-max", {"input_image": WIDE, "aspect_ratio": "1:1"}, (1024, 1024), "PNG"),
    ("flux-kontext-pro", {"aspect_ratio": "9999:1"}, (4096, 256), "PNG"),
    ("flux-pro-1.1", {"image_prompt": WIDE}, (1024, 768), "JPEG"),
    ("flux-pro-1.1-ultra", {"image_prompt": WIDE}, (2752, 1536), "JPEG"),
    ("flux-dev", {"image_prompt": WIDE, "width": 512, "height": 512}, (512, 512), "JPEG"),
    ("flux-pro-1.0-fill", {"image": WIDE, "mask": MASK}, (808, 408), "JPEG"),
    (
        "flux-pro-1.0-expand",
        {"image": WIDE, "left": 8, "right": 100, "top": None, "bottom": 12},
        (916, 420),
        "JPEG",
    ),
    ("flux-pro-1.0-expand", {"image": WIDE, "left": 2048, "bottom": 2048}, (2208, 1899), "JPEG"),
    ("flux-tools/erase-v1", {"image": WIDE, "mask": MASK}, (808, 408), "PNG"),
    ("flux-tools/deblur-v1", {"image": WIDE, "output_format": "webp"}, (808, 408), "WEBP"),
    (
        "flux-tools/outpainting-v1",
        {"input_image": SMALL, "width": 641, "height": 333},
        (641, 333),
        "PNG",
    ),
    (
        "flux-tools/outpainting-v1",
        {"input_image": SMALL, "width": 6000, "height": 6000},
        (2048, 2048),
        "PNG",
    ),
    ("flux-tools/vto-v1", {"person": WIDE, "garment": SMALL}, (808, 408), "JPEG"),
    ("flux-tools/vto-v2", {"person": SMALL, "garment": WIDE}, (320, 240), "JPEG"),
    ("flux-3-image", {}, (1024, 1024), "PNG"),
    ("flux-3-image", {"aspect_ratio": "4:3"}, (1184, 880), "PNG"),
    ("flux-3-image", {"resolution": "768sq"}, (768, 768), "PNG"),
    ("flux-3-image", {"resolution": "1.5k"}, (1536, 1536), "PNG"),
    ("flux-3-image", {"resolution": "2k", "images": PHOTO}, (2368, 1776), "PNG"),
    ("flux-3-image", {"resolution": "4k", "aspect_ratio": "16:9"}, (4096, 2304), "PNG"),
    ("flux-3-image", {"resolution": "4k", "aspect_ratio": "9:21"}, (1760, 4096), "PNG"),
    ("flux-3-image-klein", {"resolution": "1.5k"}, (1536, 1536), "PNG"),
    ("flux-3-image-klein", {"images": PHOTO, "output_format": "jpeg"}, (1184, 880), "JPEG"),
]


@pytest.mark.parametrize(("model", "parameters", "size", "image_format"), SIZES)
def test_an_image_has_the_size_that_model_and_input_determine(
    client: Client, model: str, parameters: dict[str, Any], size: tuple[int, int], image_format: str
) -> None:
    prompt = "a fox" if "prompt" in MODELS[model].fields else None
    image = decode_image(client.image(prompt, model=model, **parameters))
    assert (image.size, image.format) == (size, image_format)


def test_every_image_model_has_a_size_before_its_inputs_are_loaded() -> None:
    for model in MODELS.values():
        width, height = image_size(model, {"width": 512, "height": 512}, {})
        assert width >= 256, model.name
        assert width * height <= 4096 * 4096


def test_sizes_are_reduced_in_proportion() -> None:
    assert reduce_size((4000, 2000)) == (2896, 1448)
    assert reduce_size((4000, 2000), max_pixels=512 * 256, grid=16) == (512, 256)
    assert reduce_size((1, 1), grid=16) == (16, 16)
    assert reduce_size((100, 50)) == (100, 50)


@pytest.mark.parametrize(
    ("model", "parameters", "cost", "input_mp", "output_mp"),
    [
        ("flux-2-pro", {}, 3.0, 0.0, 1.0),
        ("flux-2-pro", {"width": 4096, "height": 4096}, 7.5, 0.0, 4.0),
        (
            "flux-2-max",
            {"input_image": encode_base64(plain_image(size=(2048, 1024)))},
            16.0,
            2.0,
            2.0,
        ),
        ("flux-2-flex", {"input_image": SMALL, "input_image_2": SMALL}, 15.0, 0.15, 0.07),
        ("flux-2-klein-4b", {"input_image": SMALL, "width": 1024, "height": 1024}, 1.5, 0.07, 1.0),
        ("flux-tools/erase-v1", {"image": SMALL, "mask": SMALL}, 3.0, 0.15, 0.07),
        (
            "flux-tools/outpainting-v1",
            {"input_image": SMALL, "width": 512, "height": 512},
            20.0,
            0.07,
            0.25,
        ),
        (
            "flux-tools/outpainting-v1",
            {"input_image": SMALL, "width": 512, "height": 512, "mode": "fast"},
            4.5,
            0.07,
            0.25,
        ),
        ("flux-tools/vto-v1", {"person": SMALL, "garment": SMALL}, 4.75, 0.15, 0.07),
    ],
)
def test_the_cost_at_submit_is_that_of_the_real_sizes(
    client: Client,
    model: str,
    parameters: dict[str, Any],
    cost: float,
    input_mp: float,
    output_mp: float,
) -> None:
    prompt = "a fox" if "prompt" in MODELS[model].fields else None
    body = client.submit(prompt, model, **parameters)
    assert (body["cost"], body["input_mp"], body["output_mp"]) == (cost, input_mp, output_mp)
    assert client.wait(body)["cost"] == cost
    assert client.credits() == 1000 - cost


@pytest.mark.parametrize(
    ("model", "resolution", "cost"),
    [
        ("flux-3-image", "768sq", 4.1),
        ("flux-3-image", "1k", 4.8),
        ("flux-3-image", "1.5k", 7),
        ("flux-3-image", "2k", 10),
        ("flux-3-image", "4k", 60.7),
        ("flux-3-image-klein", "1k", 0.9),
        ("flux-3-image-klein", "4k", 3.6),
    ],
)
def test_flux_3_reports_the_cost_with_the_result(
    client: Client, model: str, resolution: str, cost: float
) -> None:
    body = client.submit(model=model, resolution=resolution)
    assert (body["cost"], body["input_mp"], body["output_mp"]) == (None, None, None)
    assert client.wait(body)["cost"] == cost
    assert client.credits() == 1000 - cost


def test_flux_1_never_reports_the_cost(client: Client) -> None:
    body = client.submit(model="flux-pro-1.0-expand", image=SMALL)
    assert (body["cost"], body["input_mp"], body["output_mp"]) == (None, None, None)
    assert "cost" not in client.wait(body)
    assert client.credits() == 995
