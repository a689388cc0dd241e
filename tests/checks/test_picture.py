"""Blank pictures, sizes and ratios, and images that are too large to decode."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image, ImageDraw

from airflow_provider_flux.checks.check import parse_checks
from airflow_provider_flux.checks.picture import (
    PictureError,
    find_blank,
    find_size_problem,
    open_picture,
)
from tests.support.check_pictures import KINDS, encode

SIZE = (512, 512)


def _dot() -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(image).ellipse((240, 240, 260, 260), fill="black")
    return image


@pytest.mark.parametrize("colour", ["white", "black", "#7f3020", "#fefefe", "#0a0a0c"])
@pytest.mark.parametrize("quality", [30, 95])
def test_a_picture_of_one_colour_is_blank(colour: str, quality: int) -> None:
    data = encode(Image.new("RGB", SIZE, colour), quality=quality)
    assert find_blank(open_picture(data, smallest=128))


def test_a_dark_gradient_that_nobody_sees_is_black() -> None:
    ramp = Image.linear_gradient("L").resize(SIZE).point([value // 20 for value in range(256)])
    assert find_blank(ramp.convert("RGB")) == "The image is black."


@pytest.mark.parametrize("name", KINDS)
def test_no_picture_that_shows_something_is_blank(name: str) -> None:
    for seed in range(12):
        assert find_blank(open_picture(encode(KINDS[name](seed)), smallest=128)) is None


def test_a_small_black_dot_on_white_is_not_blank() -> None:
    assert find_blank(open_picture(encode(_dot()), smallest=128)) is None


def test_a_dark_picture_with_a_light_is_not_black() -> None:
    image = Image.new("RGB", SIZE, (4, 4, 8))
    ImageDraw.Draw(image).rectangle((200, 200, 230, 230), fill=(240, 220, 180))
    assert find_blank(image) is None


@pytest.mark.parametrize(
    ("check", "size", "is_allowed"),
    [
        ({"min_size": [1024, 768]}, (1024, 768), True),
        ({"min_size": [1024, 768]}, (1023, 768), False),
        ({"min_size": [1024, 768]}, (768, 1024), False),
        ({"ratio": "16:9"}, (1344, 768), True),
        ({"ratio": "16:9"}, (1376, 768), True),
        ({"ratio": "16:9"}, (768, 1344), False),
        ({"ratio": "16:9"}, (1280, 768), False),
        ({"ratio": "1:1"}, (1024, 1040), True),
    ],
)
def test_sizes_and_ratios_are_compared(
    check: dict[str, object], size: tuple[int, int], is_allowed: bool
) -> None:
    [parsed] = parse_checks([check])
    problem = find_size_problem(parsed, size)
    assert (problem is None) == is_allowed
    assert problem is None or f"{size[0]} x {size[1]} pixels" in problem


def _png_of_size(width: int, height: int) -> bytes:
    """Return the head of a PNG that says it has a size, with almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_not_decoded() -> None:
    for sides in ((30_000, 30_000), (64_001, 1000)):
        with pytest.raises(PictureError, match=r"more than 64,000,000|DecompressionBombError"):
            open_picture(_png_of_size(*sides))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(40), encode(Image.new("L", (4, 4)), "TIFF")]
)
def test_other_bytes_are_no_picture(data: bytes) -> None:
    with pytest.raises(PictureError, match="cannot be decoded"):
        open_picture(data)
