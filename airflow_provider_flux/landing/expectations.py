"""What a request wants its result to be, where it says so, and whether the result is that."""

from __future__ import annotations

from typing import Any

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.landing.provenance import RequestSummary
from airflow_provider_flux.media.info import ALL_FORMATS, MediaInfo

_SAME = {"jpg": "jpeg"}
_STEP = 16
_IMAGES = ("jpeg", "png", "webp")
_VIDEOS = ("mp4",)


def possible_formats(request: RequestSummary) -> tuple[str, ...]:
    """Return the formats the result may have: the one asked for, or those the model gives."""
    wanted = request.parameters.get("output_format")
    if isinstance(wanted, str):
        return (_SAME.get(wanted, wanted),)
    model = MODELS.get(request.model or "")
    if model is None:
        return ALL_FORMATS
    return _VIDEOS if model.output == "video" else _IMAGES


def find_mismatches(request: RequestSummary, info: MediaInfo) -> list[str]:
    """Return what is not as the request wanted it, each as a short sentence; nothing where it named nothing."""
    found = []
    wanted = request.parameters.get("output_format")
    if isinstance(wanted, str) and _SAME.get(wanted, wanted) != info.format:
        found.append(f"its format is {info.format}, not {wanted}")
    width, height = request.parameters.get("width"), request.parameters.get("height")
    sides: Any = ((width, info.width), (height, info.height))
    if (
        isinstance(width, int)
        and isinstance(height, int)
        and not all(_is_as_wanted(*pair) for pair in sides)
    ):
        found.append(f"its size is {info.width}x{info.height}, not {width}x{height}")
    return found


def _is_as_wanted(wanted: int, side: int) -> bool:
    """Whether a side has the length asked for; FLUX.2 rounds one that is no multiple of 16."""
    return side == wanted or (wanted % _STEP != 0 and abs(side - wanted) < _STEP)
