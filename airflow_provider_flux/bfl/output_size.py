"""Width and height of a FLUX.2 image: sizes that are refused, and sizes that are only warned of.

BFL documents at most 4 megapixels and sides that are multiples of 16, and its schema has no upper
limit. Nobody knows whether the service rounds, reduces or refuses other sizes, but it bills by the
megapixel. A size a little above the documentation is therefore sent with a warning, and a size far
above it is refused as a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.pricing import MEGAPIXEL

_MAX_MEGAPIXELS = 4
_MAX_SENT_MEGAPIXELS = 16
_MAX_SENT_SIDE = 8192
_SIDE_MULTIPLE = 16
_WAY_OUT = "To send it in spite of that, set validate=False"


def find_size_problems(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Return the faults of a size that is far above the documented limits.

    :param model: the model.
    :param parameters: by the service's own names.
    :return: one sentence each.
    """
    sides = _sides_of(model, parameters)
    problems = [
        f"{name}={side} is more than {_MAX_SENT_SIDE} pixels, and BFL documents at most "
        f"{_MAX_MEGAPIXELS} megapixels. {_WAY_OUT}"
        for name, side in sides.items()
        if side > _MAX_SENT_SIDE
    ]
    if not problems and _megapixels(sides) > _MAX_SENT_MEGAPIXELS:
        problems.append(
            f"width={sides['width']}, height={sides['height']}: {_megapixels(sides):.0f} "
            f"megapixels, and BFL documents at most {_MAX_MEGAPIXELS}. {_WAY_OUT}"
        )
    return problems


def find_size_warnings(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Return the warnings about a size that the service may change or refuse.

    :param model: the model.
    :param parameters: by the service's own names.
    :return: one sentence each.
    """
    sides = _sides_of(model, parameters)
    warnings = [
        f"{name}={side} is not a multiple of {_SIDE_MULTIPLE}: the service may round it or refuse "
        "it"
        for name, side in sides.items()
        if side % _SIDE_MULTIPLE
    ]
    if _megapixels(sides) > _MAX_MEGAPIXELS:
        size = f"{sides['width']}x{sides['height']}"
        warnings.append(
            f"{size} is more than {_MAX_MEGAPIXELS} megapixels: the service may reduce it or "
            "refuse it"
        )
    return warnings


def _sides_of(model: Model, parameters: Mapping[str, Any]) -> dict[str, int]:
    if not model.name.startswith("flux-2-"):
        return {}
    return {
        name: side for name in ("width", "height") if isinstance(side := parameters.get(name), int)
    }


def _megapixels(sides: Mapping[str, int]) -> float:
    return sides["width"] * sides["height"] / MEGAPIXEL if len(sides) == 2 else 0.0
