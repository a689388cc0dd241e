"""Is a result what was asked for? Format and size, where the request named them."""

from __future__ import annotations

from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.storage.provenance import RequestFacts

_SAME = {"jpg": "jpeg"}


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
