"""How large an image comes out: by sides, by aspect ratio, or by the image that is edited."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.schemas.common import read_ratio

Size = tuple[int, int]
#: The inputs of a request that are at hand, by field.
Files = Mapping[str, Sequence[MediaFile]]
_Parameters = Mapping[str, Any]

MEGAPIXEL = 1024 * 1024
LARGEST = 4 * MEGAPIXEL
#: WebP takes no longer side.
_LONGEST = 16_000
#: A schema sets no bound; no float holds every integer.
_BEYOND_ALL = 10**9
_FLUX_2_GRID = 16
_UNKNOWN = (1024, 1024)
#: A schema may take any ratio; beyond this one an image would be a line.
_STEEPEST = 16.0
#: FLUX 3: pixels by resolution; 4k is measured by its longer side.
_AREAS = {"768sq": 768**2, "1k": 1024**2, "1.5k": 1536**2, "2k": 2048**2}
_LONG_4K = 4096


def size_of(model: Model, parameters: Mapping[str, Any], files: Files) -> Size:
    """Return width and height of the image a model makes; never more than can be drawn quickly."""
    rule = next((rule for prefix, rule in _RULES if model.name.startswith(prefix)), _by_sides)
    return rule(parameters, files)


def first_image(files: Files) -> MediaFile | None:
    """Return the image that is edited: the first one of the request."""
    return next((file for group in files.values() for file in group if file.width), None)


def ratio_of(text: object, files: Files, otherwise: float = 1.0) -> float:
    """Return an aspect ratio: as it is written, else that of the first image, else the usual one."""
    written = read_ratio(text) if isinstance(text, str) else None
    image = first_image(files)
    ratio = float(written) if written else otherwise
    if written is None and image is not None:
        ratio = _size(image)[0] / _size(image)[1]
    return min(max(ratio, 1 / _STEEPEST), _STEEPEST)


def reduced(size: Size, *, largest: int = LARGEST, grid: int = 1) -> Size:
    """Return a size scaled down to ``largest`` pixels, if it has more, and rounded down to the grid."""
    sides = [min(side, _BEYOND_ALL) for side in size]
    factor = min(1.0, math.sqrt(largest / (sides[0] * sides[1])), _LONGEST / max(sides))
    width, height = (max(int(side * factor) // grid, 1) * grid for side in sides)
    return width, height


def _by_sides(parameters: _Parameters, files: Files) -> Size:
    width, height = (parameters.get(name) for name in ("width", "height"))
    return reduced((width or _UNKNOWN[0], height or _UNKNOWN[1]))


def _flux_2(parameters: _Parameters, files: Files) -> Size:
    # Above 4 megapixels, and off the grid, the documentation says both "must" and "is rounded": it is accepted.
    width, height = _size(first_image(files))
    asked = (parameters.get("width") or width, parameters.get("height") or height)
    return reduced(asked, grid=_FLUX_2_GRID)


def _by_ratio(area: int, grid: int) -> Callable[[_Parameters, Files], Size]:
    def rule(parameters: _Parameters, files: Files) -> Size:
        ratio = ratio_of(parameters.get("aspect_ratio"), files)
        height = math.sqrt(area / ratio)
        return math.ceil(height * ratio / grid) * grid, math.ceil(height / grid) * grid

    return rule


def _ultra(parameters: _Parameters, files: Files) -> Size:
    return _by_ratio(4 * MEGAPIXEL, 32)(parameters, {})  # its image is remixed, not edited


def _flux_3(parameters: _Parameters, files: Files) -> Size:
    ratio = ratio_of(parameters.get("aspect_ratio"), files)
    area = _AREAS.get(parameters.get("resolution", "1k"))
    height = math.sqrt(area / ratio) if area else _LONG_4K / max(ratio, 1.0)
    return _nearest(height * ratio), _nearest(height)


def _nearest(side: float) -> int:
    return max(round(side / _FLUX_2_GRID), 1) * _FLUX_2_GRID


def _of(name: str) -> Callable[[_Parameters, Files], Size]:
    def rule(parameters: _Parameters, files: Files) -> Size:
        return reduced(_size(next(iter(files.get(name, ())), None)))

    return rule


def _expanded(parameters: _Parameters, files: Files) -> Size:
    return reduced(expanded_size(parameters, files))


def expanded_size(parameters: Mapping[str, Any], files: Files) -> Size:
    """Return the size of an image with its margins, before it is reduced."""
    width, height = _size(first_image(files))
    left, right, top, bottom = (
        parameters.get(name) or 0 for name in ("left", "right", "top", "bottom")
    )
    return width + left + right, height + top + bottom


def _size(image: MediaFile | None) -> Size:
    return (image.width, image.height) if image and image.width and image.height else _UNKNOWN


#: The rule of each family, by the beginning of the model's name; the first that fits counts.
_RULES: tuple[tuple[str, Callable[[_Parameters, Files], Size]], ...] = (
    ("flux-2-", _flux_2),
    ("flux-kontext-", _by_ratio(MEGAPIXEL, 16)),
    ("flux-pro-1.1-ultra", _ultra),
    ("flux-pro-1.0-fill", _of("image")),
    ("flux-pro-1.0-expand", _expanded),
    ("flux-tools/erase", _of("image")),
    ("flux-tools/deblur", _of("image")),
    ("flux-tools/vto", _of("person")),
    ("flux-3-image", _flux_3),
)
