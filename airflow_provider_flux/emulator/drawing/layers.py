"""Layers that every picture is built from: a backdrop, a tint and a caption.

All of them are determined by the digest and the facts of the picture, so that equal requests give
equal pixels.
"""

from __future__ import annotations

import colorsys
import hashlib
import textwrap
from collections.abc import Iterator

from PIL import Image, ImageChops, ImageDraw, ImageFont

from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.sizes import Size

_GRID = 4
_CIRCLES = 9
_GRAIN = 14

_MAX_CAPTION_LINES = 8
_SAMPLE_TEXT = "the quick brown fox jumps over the lazy dog"
_WHITE, _PALE = (255, 255, 255), (200, 206, 218)
#: The shorter side divided by this is the font size. An edit has a smaller caption, so that more of
#: its input can be seen.
_FONT_DIVISOR, _FONT_DIVISOR_OF_EDIT = 28, 48


def draw_backdrop(digest: bytes, size: Size, *, grain: bool = True) -> Image.Image:
    """Draw soft colours and translucent circles; equal digests give equal images.

    :param digest: bytes that determine colours and shapes.
    :param size: width and height in pixels.
    :param grain: adds fine noise, without which a file is much smaller than that of a photograph.
    """
    numbers = _numbers(digest)
    hue = next(numbers)
    colours = bytes(channel for _ in range(_GRID * _GRID) for channel in _colour(hue, numbers))
    half = (max(size[0] // 2, 1), max(size[1] // 2, 1))
    image = Image.frombytes("RGB", (_GRID, _GRID), colours).resize(half, Image.Resampling.BICUBIC)

    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(_CIRCLES):
        x, y = next(numbers) * half[0], next(numbers) * half[1]
        radius = (0.05 + 0.25 * next(numbers)) * min(half)
        colour = _colour(hue + 0.1, numbers, saturation=0.15, value=0.9)
        fill = (*colour, 40 + int(60 * next(numbers)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    image = image.resize(size, Image.Resampling.BICUBIC)
    return ImageChops.add(image, _draw_grain(digest, size), 1, -128) if grain else image


def tint(image: Image.Image, digest: bytes, amount: float) -> Image.Image:
    """Blend an image with one colour.

    :param image: an RGB image, which stays as it is.
    :param digest: bytes that determine the colour.
    :param amount: share of the colour, 0 to 1.
    """
    numbers = _numbers(digest)
    colour = _colour(next(numbers), numbers)
    return Image.blend(image, Image.new("RGB", image.size, colour), amount)


def draw_caption(image: Image.Image, picture: Picture) -> None:
    """Draw prompt, model, seed and size in a band at the lower edge.

    :param image: the RGB image to draw on.
    :param picture: the facts to write.
    """
    divisor = _FONT_DIVISOR_OF_EDIT if picture.inputs else _FONT_DIVISOR
    font_size = max(8, min(image.size) // divisor)
    font = ImageFont.load_default(font_size)
    margin, line_height = font_size, int(font_size * 1.35)
    letter_width = font.getlength(_SAMPLE_TEXT) / len(_SAMPLE_TEXT)
    letters = max(4, int((image.width - 4 * margin) / letter_width))
    max_lines = max(1, min(_MAX_CAPTION_LINES, image.height // 2 // line_height))

    prompt = textwrap.wrap(picture.prompt, letters, max_lines=max_lines, placeholder=" ...")
    facts = f"{picture.model}  -  seed {picture.seed}  -  {image.width}x{image.height}"
    lines = [*prompt, *textwrap.wrap(facts, letters)]

    top = image.height - 2 * margin - line_height * len(lines)
    draw = ImageDraw.Draw(image, "RGBA")
    box = (margin, top, max(image.width - margin, margin), max(image.height - margin, top))
    draw.rounded_rectangle(box, radius=margin // 2, fill=(12, 14, 24, 150))
    for number, line in enumerate(lines):
        position = (2 * margin, top + margin // 2 + number * line_height)
        draw.text(position, line, font=font, fill=_WHITE if number < len(prompt) else _PALE)


def _draw_grain(digest: bytes, size: Size) -> Image.Image:
    """Return noise around the mid grey."""
    noise = hashlib.shake_128(digest).digest(size[0] * size[1])
    levels = [128 + (value - 128) * _GRAIN // 128 for value in range(256)]
    grain = Image.frombytes("L", size, noise).point(levels)
    return Image.merge("RGB", (grain, grain, grain))


def _colour(
    hue: float, numbers: Iterator[float], *, saturation: float = 0.5, value: float = 0.75
) -> tuple[int, int, int]:
    """Return an RGB colour near the one of hue, saturation and value, which are 0 to 1."""
    near_hue = (hue + 0.25 * (next(numbers) - 0.5)) % 1.0
    near_saturation = saturation + 0.3 * (next(numbers) - 0.5)
    near_value = min(1.0, value + 0.4 * (next(numbers) - 0.5))
    red, green, blue = colorsys.hsv_to_rgb(near_hue, near_saturation, near_value)
    return int(red * 255), int(green * 255), int(blue * 255)


def _numbers(digest: bytes) -> Iterator[float]:
    """Yield numbers in [0, 1) that depend on the digest alone."""
    return (byte / 256 for byte in hashlib.shake_128(b"shapes" + digest).digest(1024))
