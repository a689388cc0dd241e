"""Values that records, manifests and databases can hold, checked before a request is submitted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

#: Range of the 64-bit columns of Parquet and of databases.
_MIN_INTEGER = -(2**63)
_MAX_INTEGER = 2**63 - 1
#: Levels of lists and dicts in a value. No parameter of BFL has more than a few.
_MAX_LEVELS = 50
_MAX_SHOWN_DIGITS = 40


def is_storable_integer(value: int) -> bool:
    """Whether a whole number fits a column of 64 bits with a sign.

    :param value: the number.
    """
    return _MIN_INTEGER <= value <= _MAX_INTEGER


def find_unstorable(parameters: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each parameter with a value that an output of the task cannot hold.

    :param parameters: by the service's own names. A value may be nested.
    """
    return [
        f"{name}{fault}"
        for name, value in parameters.items()
        if not isinstance(value, (str, bool)) and (fault := _find_fault(value))
    ]


def _find_fault(value: Any) -> str:
    if isinstance(value, (int, float)):
        return _describe_fault(value)
    return next(_faults(value, _MAX_LEVELS), "")


def _faults(value: Any, levels: int) -> Iterator[str]:
    """Yield the faults of a value, as the rest of a sentence that begins with its name."""
    if levels < 0:
        yield f" has more than {_MAX_LEVELS} levels of lists and dicts"
    elif isinstance(value, Mapping):
        for item in (*value.keys(), *value.values()):
            yield from _faults(item, levels - 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _faults(item, levels - 1)
    elif fault := _describe_fault(value):
        yield fault


def _describe_fault(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"={value} is not a finite number"
    if isinstance(value, int) and not is_storable_integer(value):
        return _describe_range(value)
    return ""


def _describe_range(value: int) -> str:
    # Python refuses to write a number of thousands of digits.
    is_short = value.bit_length() < 3 * _MAX_SHOWN_DIGITS
    shown = f"={value}" if is_short else f" has {value.bit_length()} bits and"
    return (
        f"{shown} is out of range: records and manifests hold whole numbers from {_MIN_INTEGER} to "
        f"{_MAX_INTEGER}"
    )
