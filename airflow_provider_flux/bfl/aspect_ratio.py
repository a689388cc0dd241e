"""Aspect ratios as the service writes them, for example ``16:9``."""

from __future__ import annotations

import re
from fractions import Fraction

_RATIO = re.compile(r"(\d{1,4}):(\d{1,4})")
_WIDEST, _TALLEST = Fraction(21, 9), Fraction(9, 21)


def read_ratio(value: str) -> Fraction | None:
    """Parse an aspect ratio.

    :param value: a text.
    :return: width by height, or ``None`` if the text is not written as ``width:height``.
    """
    match = _RATIO.fullmatch(value)
    if match is None or not int(match[1]) or not int(match[2]):
        return None
    return Fraction(int(match[1]), int(match[2]))


def is_usual_ratio(ratio: Fraction) -> bool:
    """Whether an aspect ratio is between 21:9 and 9:21, the range in the OpenAPI document.

    :param ratio: width by height.
    """
    return _TALLEST <= ratio <= _WIDEST
