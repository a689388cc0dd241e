"""What a task is to draw: all that determines the bytes of an image."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.emulator.faults import without_markers

MEGAPIXEL = 1024 * 1024
_DEFAULT_SIDE = 1024
# Area and grid of the models that are told a ratio and choose the sides themselves.
_AREA_AND_GRID = {"flux-pro-1.1-ultra": (4 * MEGAPIXEL, 32)}
_USUAL_AREA_AND_GRID = (MEGAPIXEL, 16)
_NOT_DRAWN = frozenset({"prompt", "seed", "user", "webhook_url", "webhook_secret"})


@dataclass(frozen=True)
class Picture:
    """An image to render; equal pictures render to equal bytes.

    :param format: ``jpeg``, ``png`` or ``webp``.
    :param digest: SHA-256 over model, parameters and seed: where colours and shapes come from.
    """

    model: str
    prompt: str
    seed: int
    width: int
    height: int
    format: str
    digest: bytes


def compose(model: Model, parameters: Mapping[str, Any], seed: int) -> Picture:
    """Return the picture of a request. Fault markers in the prompt do not change it."""
    prompt = without_markers(parameters.get("prompt") or "")
    width, height = size_of(model, parameters)
    drawn = {name: value for name, value in parameters.items() if name not in _NOT_DRAWN}
    canonical = json.dumps([model.name, prompt, seed, drawn], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return Picture(model.name, prompt, seed, width, height, parameters.get("output_format") or "jpeg", digest)


def size_of(model: Model, parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height of the image the model makes."""
    if "width" in model.schema.model_fields:
        return parameters.get("width") or _DEFAULT_SIDE, parameters.get("height") or _DEFAULT_SIDE
    shape = parameters.get("aspect_ratio") or "1:1"
    across, _, down = ("1:1" if shape == "auto" else shape).partition(":")
    ratio = int(across) / int(down)
    area, grid = _AREA_AND_GRID.get(model.name, _USUAL_AREA_AND_GRID)
    height = math.sqrt(area / ratio)
    return math.ceil(height * ratio / grid) * grid, math.ceil(height / grid) * grid
