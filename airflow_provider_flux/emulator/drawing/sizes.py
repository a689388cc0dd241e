"""The size of an image: by sides, by aspect ratio, or by the image that is edited."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from airflow_provider_flux.bfl.aspect_ratio import read_ratio
from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.pricing import MEGAPIXEL

#: Width and height in pixels.
Size = tuple[int, int]
#: The inputs of a request that are loaded, by field.
Files = Mapping[str, Sequence[MediaFile]]
_Parameters = Mapping[str, Any]
_Rule: TypeAlias = Callable[[_Parameters, Files], Size]

MAX_PIXELS = 4 * MEGAPIXEL
#: The longest side that WebP can hold.
_MAX_SIDE = 16_000
#: Larger sides are cut to this before any float is computed: a schema may set no bound.
_MAX_REQUESTED_SIDE = 10**9
_FLUX_2_GRID = 16
#: The size of an image that is not fetched yet, or not requested.
_DEFAULT_SIZE = (1024, 1024)
#: A schema may accept any ratio; beyond this one an image would be a line.
_MAX_RATIO = 16.0
#: FLUX 3: pixels by resolution; 4k is measured by its longer side.
_AREAS = {"768sq": 768**2, "1k": 1024**2, "1.5k": 1536**2, "2k": 2048**2}
_LONG_SIDE_4K = 4096


def image_size(model: Model, parameters: Mapping[str, Any], files: Files) -> Size:
    """Return width and height of the image that a model makes.

    :param model: a model that makes images.
    :param parameters: the checked body of the request.
    :param files: the inputs that are loaded.
    :returns: a size of at most :data:`MAX_PIXELS`, except for FLUX 3 at ``4k``.
    """
    rules = (rule for prefix, rule in _RULES if model.name.startswith(prefix))
    return next(rules, _size_by_sides)(parameters, files)


def first_image(files: Files) -> MediaFile | None:
    """Return the first input with a size, which is the one that is edited.

    :param files: the inputs that are loaded.
    """
    return next((file for group in files.values() for file in group if file.width), None)


def ratio_of(text: object, files: Files, default: float = 1.0) -> float:
    """Return the aspect ratio of a request as width by height.

    :param text: the value of ``aspect_ratio``; anything but a ratio is ignored.
    :param files: the inputs that are loaded; without a ratio, the first image has it.
    :param default: the ratio of a request with neither.
    """
    requested = read_ratio(text) if isinstance(text, str) else None
    image = first_image(files)
    ratio = float(requested) if requested else default
    if requested is None and image is not None:
        width, height = _size_of_file(image)
        ratio = width / height
    return min(max(ratio, 1 / _MAX_RATIO), _MAX_RATIO)


def reduce_size(size: Size, *, max_pixels: int = MAX_PIXELS, grid: int = 1) -> Size:
    """Scale a size down to a number of pixels, and round it down to a grid.

    :param size: width and height; a smaller size is not scaled.
    :param max_pixels: the most pixels of the result.
    :param grid: both sides become multiples of this.
    """
    sides = [min(side, _MAX_REQUESTED_SIDE) for side in size]
    factor = min(1.0, math.sqrt(max_pixels / (sides[0] * sides[1])), _MAX_SIDE / max(sides))
    width, height = (max(int(side * factor) // grid, 1) * grid for side in sides)
    return width, height


def expanded_size(parameters: Mapping[str, Any], files: Files) -> Size:
    """Return the size of an image with its margins, before it is reduced.

    :param parameters: the checked body of the request, with the margins.
    :param files: the inputs that are loaded.
    """
    width, height = _size_of_file(first_image(files))
    left, right, top, bottom = (
        parameters.get(name) or 0 for name in ("left", "right", "top", "bottom")
    )
    return width + left + right, height + top + bottom


def _size_by_sides(parameters: _Parameters, files: Files) -> Size:
    width, height = (parameters.get(name) for name in ("width", "height"))
    return reduce_size((width or _DEFAULT_SIZE[0], height or _DEFAULT_SIZE[1]))


def _size_of_flux_2(parameters: _Parameters, files: Files) -> Size:
    # For sides off the grid and for more than 4 megapixels, the documentation says both "must" and
    # "is rounded". The emulator accepts and reduces them.
    width, height = _size_of_file(first_image(files))
    requested = (parameters.get("width") or width, parameters.get("height") or height)
    return reduce_size(requested, grid=_FLUX_2_GRID)


def _size_by_ratio(area: int, grid: int) -> _Rule:
    def rule(parameters: _Parameters, files: Files) -> Size:
        ratio = ratio_of(parameters.get("aspect_ratio"), files)
        height = math.sqrt(area / ratio)
        return math.ceil(height * ratio / grid) * grid, math.ceil(height / grid) * grid

    return rule


def _size_of_ultra(parameters: _Parameters, files: Files) -> Size:
    # The input is remixed, not edited: it has no influence on the size.
    return _size_by_ratio(4 * MEGAPIXEL, 32)(parameters, {})


def _size_of_flux_3(parameters: _Parameters, files: Files) -> Size:
    ratio = ratio_of(parameters.get("aspect_ratio"), files)
    area = _AREAS.get(parameters.get("resolution", "1k"))
    height = math.sqrt(area / ratio) if area else _LONG_SIDE_4K / max(ratio, 1.0)
    return _round_to_grid(height * ratio), _round_to_grid(height)


def _round_to_grid(side: float) -> int:
    return max(round(side / _FLUX_2_GRID), 1) * _FLUX_2_GRID


def _size_of_input(name: str) -> _Rule:
    def rule(parameters: _Parameters, files: Files) -> Size:
        return reduce_size(_size_of_file(next(iter(files.get(name, ())), None)))

    return rule


def _size_of_expand(parameters: _Parameters, files: Files) -> Size:
    return reduce_size(expanded_size(parameters, files))


def _size_of_file(image: MediaFile | None) -> Size:
    return (image.width, image.height) if image and image.width and image.height else _DEFAULT_SIZE


#: The rule of each model family, by the beginning of the model's name; the first match counts.
_RULES: tuple[tuple[str, _Rule], ...] = (
    ("flux-2-", _size_of_flux_2),
    ("flux-kontext-", _size_by_ratio(MEGAPIXEL, 16)),
    ("flux-pro-1.1-ultra", _size_of_ultra),
    ("flux-pro-1.0-fill", _size_of_input("image")),
    ("flux-pro-1.0-expand", _size_of_expand),
    ("flux-tools/erase", _size_of_input("image")),
    ("flux-tools/deblur", _size_of_input("image")),
    ("flux-tools/vto", _size_of_input("person")),
    ("flux-3-image", _size_of_flux_3),
)
