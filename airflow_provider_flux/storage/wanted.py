"""What a request wants its result to be, where it says so, and whether the result is that."""

from __future__ import annotations

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.storage.provenance import RequestFacts

_SAME = {"jpg": "jpeg"}
_IMAGES = ("jpeg", "png", "webp")
_VIDEOS = ("mp4",)


def possible_formats(request: RequestFacts) -> tuple[str, ...]:
    """Return the formats the result may have: the one asked for, or those the model gives."""
    wanted = request.parameters.get("output_format")
    if isinstance(wanted, str):
        return (_SAME.get(wanted, wanted),)
    model = MODELS.get(request.model or "")
    if model is None:
        return (*_IMAGES, *_VIDEOS)
    return _VIDEOS if model.output == "video" else _IMAGES


def find_mismatches(request: RequestFacts, info: MediaInfo) -> list[str]:
    """Return what is not as the request wanted it, each as a short sentence; nothing where it named nothing."""
    found = []
    wanted = request.parameters.get("output_format")
    if isinstance(wanted, str) and _SAME.get(wanted, wanted) != info.format:
        found.append(f"its format is {info.format}, not {wanted}")
    width, height = request.parameters.get("width"), request.parameters.get("height")
    if isinstance(width, int) and isinstance(height, int) and (width, height) != (info.width, info.height):
        found.append(f"its size is {info.width}x{info.height}, not {width}x{height}")
    return found
