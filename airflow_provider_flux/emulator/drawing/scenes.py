"""Pictures that a check should reject: blank, black, repeated, or with another text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from PIL import Image, ImageChops

from airflow_provider_flux.emulator.drawing.layers import draw_backdrop, draw_caption
from airflow_provider_flux.emulator.drawing.picture import Picture

_OTHER_TEXT = "Entirely different words stand here instead"
#: Levels by which the noise of a blank picture differs from its colour.
_NOISE = 2
_LOWEST_QUALITY, _QUALITIES = 70, 25


def draw_scene(picture: Picture) -> Image.Image:
    """Draw a picture with a scene.

    :param picture: the picture, whose scene is one of :data:`SCENES`.
    """
    return SCENES[picture.scene](picture)


def scene_quality(picture: Picture) -> int:
    """Return the JPEG quality of a picture with a scene. Copies of one scene differ in it.

    :param picture: the picture.
    """
    return _LOWEST_QUALITY + picture.digest[0] % _QUALITIES


def _draw_blank(picture: Picture) -> Image.Image:
    red, green, blue = picture.digest[:3]
    return _with_noise(picture, (red, green, blue))


def _draw_black(picture: Picture) -> Image.Image:
    return _with_noise(picture, (_NOISE, _NOISE, _NOISE))


def _draw_duplicate(picture: Picture) -> Image.Image:
    """Draw one picture for all prompts, without a caption."""
    return draw_backdrop(hashlib.sha256(b"duplicate").digest(), (picture.width, picture.height))


def _draw_wrong_text(picture: Picture) -> Image.Image:
    image = draw_backdrop(picture.digest, (picture.width, picture.height))
    draw_caption(image, replace(picture, prompt=_OTHER_TEXT))
    return image


def _with_noise(picture: Picture, colour: tuple[int, int, int]) -> Image.Image:
    size = (picture.width, picture.height)
    data = hashlib.shake_128(picture.digest).digest(size[0] * size[1])
    levels = [128 + value % (2 * _NOISE + 1) - _NOISE for value in range(256)]
    noise = Image.frombytes("L", size, data).point(levels)
    flat = Image.new("RGB", size, colour)
    return ImageChops.add(flat, Image.merge("RGB", (noise, noise, noise)), 1, -128)


#: How each scene is drawn, by its fault.
SCENES: Mapping[str, Callable[[Picture], Image.Image]] = {
    "blank": _draw_blank,
    "black": _draw_black,
    "duplicate": _draw_duplicate,
    "wrong-text": _draw_wrong_text,
}
