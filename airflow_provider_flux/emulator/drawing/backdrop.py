"""What is drawn where nothing was given: soft colours and translucent circles, told by a digest."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterator

from PIL import Image, ImageChops, ImageDraw

from airflow_provider_flux.emulator.drawing.sizes import Size

_GRID = 4
_CIRCLES = 9
_GRAIN = 14


def backdrop(digest: bytes, size: Size, *, grain: bool = True) -> Image.Image:
    """Return a generated image; equal digests give equal ones.

    :param grain: fine noise, without which an image file is much smaller than a photograph.
    """
    chance = _chances(digest)
    hue = next(chance)
    colours = bytes(channel for _ in range(_GRID * _GRID) for channel in _colour(hue, chance))
    half = (max(size[0] // 2, 1), max(size[1] // 2, 1))
    image = Image.frombytes("RGB", (_GRID, _GRID), colours).resize(half, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(_CIRCLES):
        x, y = next(chance) * half[0], next(chance) * half[1]
        radius = (0.05 + 0.25 * next(chance)) * min(half)
        fill = (
            *_colour(hue + 0.1, chance, saturation=0.15, value=0.9),
            40 + int(60 * next(chance)),
        )
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    image = image.resize(size, Image.Resampling.BICUBIC)
    return ImageChops.add(image, _grain(digest, size), 1, -128) if grain else image


def tinted(image: Image.Image, digest: bytes, amount: float) -> Image.Image:
    """Return an image with some of the colour a digest tells, 0 to 1."""
    chance = _chances(digest)
    colour = _colour(next(chance), chance)
    return Image.blend(image, Image.new("RGB", image.size, colour), amount)


def _grain(digest: bytes, size: Size) -> Image.Image:
    """Return noise around the mid grey."""
    noise = hashlib.shake_128(digest).digest(size[0] * size[1])
    levels = [128 + (value - 128) * _GRAIN // 128 for value in range(256)]
    grain = Image.frombytes("L", size, noise).point(levels)
    return Image.merge("RGB", (grain, grain, grain))


def _colour(
    hue: float, chance: Iterator[float], *, saturation: float = 0.5, value: float = 0.75
) -> tuple[int, int, int]:
    """Return a colour near the given one; all numbers are 0 to 1."""
    near_hue = (hue + 0.25 * (next(chance) - 0.5)) % 1.0
    near_saturation = saturation + 0.3 * (next(chance) - 0.5)
    red, green, blue = colorsys.hsv_to_rgb(
        near_hue, near_saturation, min(1.0, value + 0.4 * (next(chance) - 0.5))
    )
    return int(red * 255), int(green * 255), int(blue * 255)


def _chances(digest: bytes) -> Iterator[float]:
    """Yield numbers in [0, 1) that depend on the digest alone."""
    return (byte / 256 for byte in hashlib.shake_128(b"shapes" + digest).digest(1024))
