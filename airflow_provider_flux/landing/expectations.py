"""Compare a result with the format and size that its request named."""

from __future__ import annotations

from typing import Any

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.landing.provenance import RequestSummary
from airflow_provider_flux.media.info import ALL_FORMATS, MediaInfo

_FORMAT_ALIASES = {"jpg": "jpeg"}
#: FLUX.2 rounds a side to a multiple of this many pixels.
_SIDE_STEP = 16
_IMAGE_FORMATS = ("jpeg", "png", "webp")
_VIDEO_FORMATS = ("mp4",)


def expected_formats(request: RequestSummary) -> tuple[str, ...]:
    """Return the formats the result may have: the requested one, or those of the model.

    :param request: what was requested.
    """
    requested = _requested_format(request)
    if requested is not None:
        return (requested,)
    model = MODELS.get(request.model or "")
    if model is None:
        return ALL_FORMATS
    return _VIDEO_FORMATS if model.output == "video" else _IMAGE_FORMATS


def find_mismatches(request: RequestSummary, info: MediaInfo) -> list[str]:
    """Return the differences between a result and its request.

    :param request: what was requested. A format or size that it does not name is not compared.
    :param info: format and size of the result.
    :return: one short sentence for each difference.
    """
    mismatches = []
    if _requested_format(request) not in {None, info.format}:
        requested = request.parameters["output_format"]
        mismatches.append(f"its format is {info.format}, not {requested}")
    width, height = request.parameters.get("width"), request.parameters.get("height")
    if isinstance(width, int) and isinstance(height, int):
        fits = _fits(width, info.width) and _fits(height, info.height)
        if not fits:
            mismatches.append(f"its size is {info.width}x{info.height}, not {width}x{height}")
    return mismatches


def _requested_format(request: RequestSummary) -> str | None:
    requested: Any = request.parameters.get("output_format")
    return _FORMAT_ALIASES.get(requested, requested) if isinstance(requested, str) else None


def _fits(requested: int, actual: int) -> bool:
    """Whether a side has the requested length, or differs by the rounding of FLUX.2."""
    is_rounded = requested % _SIDE_STEP != 0
    return actual == requested or (is_rounded and abs(actual - requested) < _SIDE_STEP)
