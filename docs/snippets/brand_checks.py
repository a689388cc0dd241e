"""A check of a user. docs/checks.md shows it, and the tests call it."""

# [START brand_colour]
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageStat


def brand_colour(image: Image.Image, row: Mapping[str, Any]) -> str | None:
    """Reject an image that is not warm."""
    red, _, blue = ImageStat.Stat(image).mean
    return None if red >= blue else f"{row['sku']} is too cold"


# [END brand_colour]
