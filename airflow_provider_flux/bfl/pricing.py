"""What a request is expected to cost, in credits (1 credit = 0.01 USD).

An estimate only: the service is the judge. It reports the cost of FLUX.2 with the submit answer and
of some others with the result; FLUX.1 models report none (source: BFL pricing page and published
answers of the service).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

USD_PER_CREDIT = 0.01
_MEGAPIXEL = 1024 * 1024


class Price(Protocol):
    """A pricing rule."""

    def credits(self, parameters: Mapping[str, Any], images_in: int) -> float:
        """Return the credits of one request that sends ``images_in`` input images."""


@dataclass(frozen=True)
class Flat:
    """The same price for every request."""

    per_image: float

    def credits(self, parameters: Mapping[str, Any], images_in: int) -> float:
        """Return the flat price."""
        return self.per_image


@dataclass(frozen=True)
class PerMegapixel:
    """FLUX.2: ``first`` for the first output megapixel, ``further`` for each other one, in or out.

    Megapixels are rounded up. An output size the service chooses, and each input image, is counted
    as one megapixel, since their real sizes are not known before the answer.
    """

    first: float
    further: float

    def credits(self, parameters: Mapping[str, Any], images_in: int) -> float:
        """Return the price for the requested output size."""
        width, height = _side(parameters.get("width")), _side(parameters.get("height"))
        megapixels_out = math.ceil(width * height / _MEGAPIXEL)
        return self.first + self.further * (megapixels_out - 1 + images_in)


def _side(value: Any) -> int:
    """Return a requested side in pixels; what was not checked may be anything."""
    return value if isinstance(value, int) and value > 0 else 1024
