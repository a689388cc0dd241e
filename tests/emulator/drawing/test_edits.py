"""Edits show their inputs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.emulator.conftest import Client
from tests.support.emulator_media import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    Box,
    Colour,
    colour_distance,
    decode_image,
    encode_base64,
    encode_image,
    mean_colour,
    plain_image,
    quarters_image,
)

SIZE = (640, 480)
PHOTO = quarters_image(SIZE)
#: The middle of each quarter, above the caption.
QUARTERS: dict[Box, Colour] = {
    (20, 140, 300, 220): RED,
    (340, 140, 620, 220): GREEN,
    (20, 260, 300, 400): BLUE,
    (340, 260, 620, 400): YELLOW,
}
HOLE = (250, 160, 390, 320)
MASK = Image.new("L", SIZE)
ImageDraw.Draw(MASK).rectangle(HOLE, fill=255)
#: The largest distance by which a tint moves a colour.
MAX_TINT = 60


def edit(client: Client, model: str, prompt: str | None = "x", **parameters: Any) -> Image.Image:
    image = decode_image(client.image(prompt, model=model, **parameters)).convert("RGB")
    assert image.size == SIZE or "width" in parameters or "left" in parameters
    return image


@pytest.mark.parametrize("model", ["flux-2-pro", "flux-2-klein-9b", "flux-2-flex"])
def test_an_edit_shows_its_input_in_another_tint(client: Client, model: str) -> None:
    image = edit(client, model, input_image=encode_base64(PHOTO), seed=3)
    apart = [colour_distance(mean_colour(image, box), colour) for box, colour in QUARTERS.items()]
    assert all(5 < change < MAX_TINT for change in apart), apart


@pytest.mark.parametrize(
    ("model", "field"), [("flux-pro-1.1", "image_prompt"), ("flux-pro-1.1-ultra", "image_prompt")]
)
def test_a_remix_resembles_its_input(client: Client, model: str, field: str) -> None:
    parameters = {field: encode_base64(PHOTO), "seed": 3}
    image = decode_image(client.image(model=model, **parameters)).convert("RGB").resize(SIZE)
    left, right = mean_colour(image, (0, 0, 320, 120)), mean_colour(image, (320, 0, 640, 120))
    assert left[0] - left[1] > right[0] - right[1] + 40  # more red on the left


def test_a_stronger_remix_is_nearer_to_its_input(client: Client) -> None:
    apart = []
    for strength in (0.0, 0.5, 1.0):
        parameters = {
            "image_prompt": encode_base64(plain_image(size=SIZE)),
            "image_prompt_strength": strength,
            "seed": 3,
        }
        image = decode_image(client.image(model="flux-pro-1.1-ultra", **parameters))
        apart.append(colour_distance(mean_colour(image, (0, 0, 1000, 1000)), RED))
    assert apart == sorted(apart, reverse=True)
    assert apart[2] < 20


@pytest.mark.parametrize("model", ["flux-2-pro", "flux-kontext-pro", "flux-3-image"])
def test_references_are_drawn_as_numbered_thumbnails_in_their_order(
    client: Client, model: str
) -> None:
    colours = [plain_image(colour, (320, 320)) for colour in (RED, GREEN, BLUE, YELLOW)]
    names = ["input_image", "input_image_2", "input_image_3", "input_image_4"]
    images: dict[str, Any] = dict(zip(names, map(encode_base64, colours), strict=True))
    if model == "flux-3-image":
        images = {"images": list(images.values())}
    image = decode_image(client.image(model=model, **images)).convert("RGB")
    margin = min(image.size) // 64
    side = min(image.height // 5, (image.width - margin) // 4 - margin)
    for number, colour in enumerate((RED, GREEN, BLUE, YELLOW)):
        left = margin + number * (side + margin)
        assert (
            colour_distance(
                mean_colour(image, (left + side // 2, margin + side // 2, left + side - 2, side)),
                colour,
            )
            < 10
        )
        label = mean_colour(image, (left, margin, left + side // 5, margin + side // 5))
        assert max(label) < 140  # white on black
    assert (
        colour_distance(
            mean_colour(image, (0, image.height // 2, image.width, image.height * 3 // 4)), RED
        )
        < MAX_TINT
    )


def test_fill_paints_where_the_mask_is_white_and_nowhere_else(client: Client) -> None:
    parameters = {
        "image": encode_base64(PHOTO),
        "mask": encode_base64(MASK),
        "output_format": "png",
    }
    image = edit(client, "flux-pro-1.0-fill", **parameters, seed=1)
    outside = (0, 0, *HOLE[:2])
    assert image.crop(outside).tobytes() == PHOTO.crop(outside).tobytes()
    assert image.crop((400, 0, 640, 400)).tobytes() == PHOTO.crop((400, 0, 640, 400)).tobytes()
    assert len(image.crop(HOLE).getcolors(maxcolors=100_000) or []) > 1000
    other = edit(client, "flux-pro-1.0-fill", "y", **parameters, seed=1)
    assert other.crop(outside).tobytes() == image.crop(outside).tobytes()
    assert other.crop(HOLE).tobytes() != image.crop(HOLE).tobytes()


def test_fill_uses_the_alpha_channel_as_a_mask(client: Client) -> None:
    photo = PHOTO.copy()
    photo.putalpha(MASK.point(lambda value: 255 - value))
    image = edit(client, "flux-pro-1.0-fill", image=encode_base64(photo), output_format="png")
    assert image.crop((400, 0, 640, 400)).tobytes() == PHOTO.crop((400, 0, 640, 400)).tobytes()
    assert len(image.crop(HOLE).getcolors(maxcolors=100_000) or []) > 1000


def test_fill_without_a_mask_edits_all_of_the_image(client: Client) -> None:
    image = edit(client, "flux-pro-1.0-fill", image=encode_base64(PHOTO), seed=3)
    assert all(
        0 < colour_distance(mean_colour(image, box), colour) < MAX_TINT
        for box, colour in QUARTERS.items()
    )


def test_erase_fills_the_masked_area_from_around_it(client: Client) -> None:
    photo = plain_image(GREEN, SIZE)
    ImageDraw.Draw(photo).rectangle((300, 200, 340, 240), fill=(255, 255, 255))
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).rectangle((302, 202, 338, 238), fill=255)
    parameters = {"image": encode_base64(photo), "mask": encode_base64(mask)}
    image = edit(client, "flux-tools/erase-v1", None, **parameters)
    assert colour_distance(mean_colour(image, (290, 190, 350, 250)), GREEN) < 3
    kept = edit(client, "flux-tools/erase-v1", None, **parameters, dilate_pixels=0)
    # The mask leaves out this edge.
    assert colour_distance(mean_colour(kept, (300, 200, 301, 240)), (255, 255, 255)) < 3


@pytest.mark.parametrize("pixels", [0, 1, 7, 25])
def test_erase_grows_the_mask_by_dilate_pixels(client: Client, pixels: int) -> None:
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).rectangle((300, 200, 340, 240), fill=255)
    noise = Image.effect_noise(SIZE, 100).convert("RGB")
    parameters = {
        "image": encode_base64(noise),
        "mask": encode_base64(mask),
        "dilate_pixels": pixels,
    }
    image = edit(client, "flux-tools/erase-v1", None, **parameters)
    row = [image.getpixel((x, 220)) == noise.getpixel((x, 220)) for x in range(640)]
    assert all(row[: 300 - pixels])
    assert all(row[341 + pixels :])
    assert sum(row[300 - pixels : 341 + pixels]) < 10  # some noise equals its replacement


def test_deblur_sharpens_its_input(client: Client) -> None:
    blurred = PHOTO.filter(ImageFilter.GaussianBlur(6))
    image = edit(client, "flux-tools/deblur-v1", None, image=encode_base64(blurred))
    steepest = [_steepest(shown.crop((280, 100, 360, 101))) for shown in (blurred, image)]
    assert steepest[1] > 1.3 * steepest[0]
    assert all(
        colour_distance(mean_colour(image, box), colour) < 20 for box, colour in QUARTERS.items()
    )


def _steepest(row: Image.Image) -> int:
    reds = row.getchannel("R").tobytes()
    return max(abs(a - b) for a, b in pairwise(reds))


def test_expand_keeps_its_input_between_the_margins(client: Client) -> None:
    margins = {"left": 100, "top": 50, "right": 60, "bottom": 200}
    image = edit(
        client, "flux-pro-1.0-expand", image=encode_base64(PHOTO), output_format="png", **margins
    )
    assert image.size == (800, 730)
    assert image.crop((100, 50, 740, 530)).tobytes() == PHOTO.tobytes()
    assert len(image.crop((0, 0, 100, 400)).getcolors(maxcolors=100_000) or []) > 1000


@pytest.mark.parametrize(
    ("offset", "position"),
    [
        ({}, (180, 160)),
        ({"reference_offset_x": 0, "reference_offset_y": 7}, (0, 7)),
        ({"reference_offset_y": 0}, (180, 0)),
        ({"reference_offset_x": -100, "auto_crop": True}, (-100, 160)),
    ],
)
def test_outpainting_draws_its_input_at_the_offset(
    client: Client, offset: dict[str, Any], position: tuple[int, int]
) -> None:
    image = edit(
        client,
        "flux-tools/outpainting-v1",
        None,
        input_image=encode_base64(PHOTO),
        width=1000,
        height=800,
        **offset,
    )
    assert image.size == (1000, 800)
    inside = (max(position[0], 0), position[1], position[0] + 640, position[1] + 480)
    own = (inside[0] - position[0], 0, 640, 480)
    assert image.crop(inside).tobytes() == PHOTO.crop(own).tobytes()
    assert len(image.crop((900, 0, 1000, 600)).getcolors(maxcolors=100_000) or []) > 1000


def test_outpainting_accepts_an_offset_far_beyond_its_canvas(client: Client) -> None:
    far = {"reference_offset_x": 10**300, "reference_offset_y": -(10**300), "auto_crop": True}
    edit(
        client,
        "flux-tools/outpainting-v1",
        None,
        input_image=encode_base64(PHOTO),
        width=640,
        height=480,
        **far,
    )


def test_outpainting_scales_the_offset_with_a_reduced_canvas(client: Client) -> None:
    parameters = {
        "input_image": encode_base64(PHOTO),
        "width": 4096,
        "height": 4096,
        "reference_offset_x": 2048,
    }
    image = edit(client, "flux-tools/outpainting-v1", None, **parameters, reference_offset_y=0)
    assert image.size == (2048, 2048)
    assert colour_distance(mean_colour(image, (1034, 10, 1174, 110)), RED) < 5
    assert colour_distance(mean_colour(image, (1194, 130, 1334, 230)), YELLOW) < 5


@pytest.mark.parametrize("model", ["flux-tools/vto-v1", "flux-tools/vto-v2"])
def test_try_on_shows_the_garment_on_the_person(client: Client, model: str) -> None:
    image = edit(
        client,
        model,
        person=encode_base64(PHOTO),
        garment=encode_base64(plain_image(YELLOW, (90, 300))),
        seed=3,
    )
    assert colour_distance(mean_colour(image, (305, 180, 335, 300)), YELLOW) < 10
    assert all(
        0 < colour_distance(mean_colour(image, box), colour) < MAX_TINT + 20
        for box, colour in QUARTERS.items()
    )


EDITS: list[tuple[str, dict[str, Any]]] = [
    (
        "flux-2-pro",
        {"input_image": encode_base64(PHOTO), "input_image_2": encode_base64(plain_image())},
    ),
    ("flux-kontext-pro", {"input_image": encode_base64(PHOTO)}),
    ("flux-dev", {"image_prompt": encode_base64(PHOTO)}),
    (
        "flux-pro-1.0-fill-finetuned",
        {"image": encode_base64(PHOTO), "mask": encode_base64(MASK), "finetune_id": "demo-style"},
    ),
    ("flux-pro-1.0-expand", {"image": encode_base64(PHOTO), "left": 8}),
    ("flux-tools/erase-v1", {"image": encode_base64(PHOTO), "mask": encode_base64(MASK)}),
    ("flux-tools/deblur-v1", {"image": encode_base64(PHOTO)}),
    (
        "flux-tools/vto-v1",
        {"person": encode_base64(PHOTO), "garment": encode_base64(plain_image())},
    ),
]


@pytest.mark.parametrize(("model", "parameters"), EDITS, ids=[model for model, _ in EDITS])
def test_only_equal_edits_give_equal_bytes(
    client: Client, model: str, parameters: dict[str, Any]
) -> None:
    first = client.image(model=model, **parameters, seed=5)
    assert client.image(model=model, **parameters, seed=5) == first
    assert client.image(model=model, **parameters, seed=6) != first
    field = next(
        name for name in parameters if name in {"input_image", "image_prompt", "image", "person"}
    )
    other = {**parameters, field: encode_base64(encode_image(quarters_image(SIZE).rotate(180)))}
    assert client.image(model=model, **other, seed=5) != first


def test_a_model_without_a_seed_parameter_reports_a_random_seed(client: Client) -> None:
    body = {"input_image": encode_base64(PHOTO), "width": 700, "height": 500}
    seeds = [
        client.wait(client.submit(None, "flux-tools/outpainting-v1", **body))["result"]["seed"]
        for _ in range(2)
    ]
    assert seeds[0] != seeds[1]
