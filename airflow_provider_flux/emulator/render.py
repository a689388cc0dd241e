"""Render pictures: soft colours, translucent circles, and on them what was asked for."""

from __future__ import annotations

import colorsys
import hashlib
import io
import textwrap
from collections.abc import Iterator
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFont

from airflow_provider_flux.emulator.picture import Picture

_GRID = 4
_CIRCLES = 9
_GRAIN = 14
_CACHED = 16
_MOST_LINES = 8
_USUAL_TEXT = "the quick brown fox jumps over the lazy dog"
_WHITE, _PALE = (255, 255, 255), (200, 206, 218)
_ENCODING: dict[str, dict[str, int]] = {
    "jpeg": {"quality": 90},
    "png": {"compress_level": 1},
    "webp": {"quality": 85, "method": 0},
}


@lru_cache(maxsize=_CACHED)
def render(picture: Picture) -> bytes:
    """Return the encoded image; equal pictures give equal bytes."""
    image = _background(picture)
    _write_caption(image, picture)
    buffer = io.BytesIO()
    image.save(buffer, picture.format, **_ENCODING[picture.format])
    return buffer.getvalue()


def _background(picture: Picture) -> Image.Image:
    size = (picture.width, picture.height)
    chance = _chances(picture.digest)
    hue = next(chance)
    colours = bytes(channel for _ in range(_GRID * _GRID) for channel in _colour(hue, chance))
    half = (max(size[0] // 2, 1), max(size[1] // 2, 1))
    image = Image.frombytes("RGB", (_GRID, _GRID), colours).resize(half, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(_CIRCLES):
        x, y = next(chance) * half[0], next(chance) * half[1]
        radius = (0.05 + 0.25 * next(chance)) * min(half)
        fill = (*_colour(hue + 0.1, chance, saturation=0.15, value=0.9), 40 + int(60 * next(chance)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    return ImageChops.add(image.resize(size, Image.Resampling.BICUBIC), _grain(picture), 1, -128)


def _grain(picture: Picture) -> Image.Image:
    """Return fine noise around the mid grey: without it an image is much smaller than a photograph."""
    noise = hashlib.shake_128(picture.digest).digest(picture.width * picture.height)
    levels = [128 + (value - 128) * _GRAIN // 128 for value in range(256)]
    grain = Image.frombytes("L", (picture.width, picture.height), noise).point(levels)
    return Image.merge("RGB", (grain, grain, grain))


def _write_caption(image: Image.Image, picture: Picture) -> None:
    font_size = max(8, min(image.size) // 28)
    font = ImageFont.load_default(font_size)
    margin, line_height = font_size, int(font_size * 1.35)
    letter_width = font.getlength(_USUAL_TEXT) / len(_USUAL_TEXT)
    letters = max(4, int((image.width - 4 * margin) / letter_width))
    most_lines = max(1, min(_MOST_LINES, image.height // 2 // line_height))
    prompt = textwrap.wrap(picture.prompt, letters, max_lines=most_lines, placeholder=" ...")
    facts = textwrap.wrap(f"{picture.model}  -  seed {picture.seed}  -  {picture.width}x{picture.height}", letters)
    top = image.height - 2 * margin - line_height * (len(prompt) + len(facts))
    draw = ImageDraw.Draw(image, "RGBA")
    box = (margin, top, max(image.width - margin, margin), max(image.height - margin, top))
    draw.rounded_rectangle(box, radius=margin // 2, fill=(12, 14, 24, 150))
    for number, line in enumerate([*prompt, *facts]):
        place = (2 * margin, top + margin // 2 + number * line_height)
        draw.text(place, line, font=font, fill=_WHITE if number < len(prompt) else _PALE)


def _colour(
    hue: float, chance: Iterator[float], *, saturation: float = 0.5, value: float = 0.75
) -> tuple[int, int, int]:
    """Return a colour near the given one; all numbers are 0 to 1."""
    near_hue = (hue + 0.25 * (next(chance) - 0.5)) % 1.0
    near_saturation = saturation + 0.3 * (next(chance) - 0.5)
    red, green, blue = colorsys.hsv_to_rgb(near_hue, near_saturation, min(1.0, value + 0.4 * (next(chance) - 0.5)))
    return int(red * 255), int(green * 255), int(blue * 255)


def _chances(digest: bytes) -> Iterator[float]:
    """Yield numbers in [0, 1) that depend on the digest alone."""
    return (byte / 256 for byte in hashlib.shake_128(b"shapes" + digest).digest(1024))
