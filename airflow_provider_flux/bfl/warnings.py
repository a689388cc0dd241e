"""What the service may refuse, change or ignore, where its own statements are silent or contradict.

A warning is logged and the request is sent: only what is certain is refused before it is paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.pricing import MEGAPIXEL
from airflow_provider_flux.bfl.schemas.common import is_usual_ratio, read_ratio

_MOST_MEGAPIXELS = 4
_GRID = 16
_EDITING_TOLERANCE = 2


def find_warnings(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Return what may not work as meant, one sentence each."""
    warnings: list[str] = []
    if model.name.startswith("flux-2-"):
        warnings += _size_warnings(parameters)
    if model.name.startswith("flux-kontext-"):
        warnings += _kontext_warnings(parameters)
    warnings += _gap_warnings(model, parameters)
    return warnings


def _size_warnings(parameters: Mapping[str, Any]) -> list[str]:
    sides = {
        name: parameters[name]
        for name in ("width", "height")
        if isinstance(parameters.get(name), int)
    }
    warnings = [
        f"{name}={side} is not a multiple of {_GRID}: the service may round it or refuse it"
        for name, side in sides.items()
        if side % _GRID
    ]
    if len(sides) == 2 and sides["width"] * sides["height"] > _MOST_MEGAPIXELS * MEGAPIXEL:
        size = f"{sides['width']}x{sides['height']}"
        warnings.append(
            f"{size} is more than {_MOST_MEGAPIXELS} megapixels: the service may reduce it or "
            "refuse it"
        )
    return warnings


def _kontext_warnings(parameters: Mapping[str, Any]) -> list[str]:
    warnings = []
    shape = parameters.get("aspect_ratio")
    ratio = read_ratio(shape) if isinstance(shape, str) else None
    if ratio is not None and not is_usual_ratio(ratio):
        warnings.append(
            f"aspect_ratio={shape!r} is not between 21:9 and 9:21: the service may refuse it"
        )
    tolerance = parameters.get("safety_tolerance")
    if (
        parameters.get("input_image")
        and isinstance(tolerance, int)
        and tolerance > _EDITING_TOLERANCE
    ):
        warnings.append(
            f"safety_tolerance={tolerance}: with an input image the service may allow "
            f"{_EDITING_TOLERANCE} at most"
        )
    return warnings


def _gap_warnings(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Reference images are counted by the prompt ("image 2"): a gap makes the count differ."""
    numbered = [
        name
        for name in model.media_fields
        if name == "input_image" or name.startswith("input_image_")
    ]
    given = [bool(parameters.get(name)) for name in numbered]
    count = sum(given)
    if all(given[:count]):
        return []
    missing = numbered[given.index(False)]
    return [
        f"{missing} is missing although a later one is given: prompts count the images in order, "
        "without gaps"
    ]
