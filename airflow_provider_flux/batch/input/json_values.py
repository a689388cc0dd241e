"""Conversion of values from data frames, Parquet files and other tasks to plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from airflow_provider_flux.bfl.inputs import InlineMedia, is_path

#: Types that pandas uses for a missing value.
_MISSING_TYPES = frozenset({"NAType", "NaTType"})
#: Method that converts a value to a Python object, by package of its type.
_CONVERTERS = {"numpy": "tolist", "pyarrow": "as_py"}
#: Levels of lists and dicts in a value. No parameter of BFL has more than a few.
_MAX_LEVELS = 50
#: Largest power of ten of a decimal number, that of a float.
_MAX_EXPONENT = 308
#: Bits of a whole number, of about 1,024 digits.
_MAX_BITS = 3402


class NotJsonError(ValueError):
    """A value that cannot be represented in JSON.

    The message continues a sentence whose subject is the name of the value.
    """


def to_json_value(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """Convert a value to plain JSON.

    :param value: value of any type.
    :param levels: levels of lists and dicts that the value may have.
    :return: a value of the types of JSON. ``None``, NaN and the like give ``None``: no value.
    :raises NotJsonError: if JSON cannot represent the value, or it has too many levels.
    """
    if levels < 0:
        raise NotJsonError(f"has more than {_MAX_LEVELS} levels of lists and dicts")
    kind = type(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, Enum):
        return to_json_value(value.value, levels)
    if isinstance(value, int):
        return _check_integer(int(value))
    if isinstance(value, str):
        return _check_text(str(value))
    if isinstance(value, float):
        return _convert_float(float(value))
    if isinstance(value, Mapping):
        return {str(name): to_json_value(item, levels - 1) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [to_json_value(item, levels - 1) for item in value]
    return _convert_other(value, levels)


def _check_text(value: str) -> str:
    """Refuse a lone surrogate, which JSON can escape but no store or database accepts."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotJsonError("contains a lone surrogate, which is not a character") from None
    return value


def _check_integer(value: int) -> int:
    """Refuse a number whose text Python itself would refuse to write."""
    if value.bit_length() > _MAX_BITS:
        raise NotJsonError("is too large")
    return value


def _convert_float(value: float) -> float | None:
    if math.isinf(value):
        raise NotJsonError("is infinite")
    return None if math.isnan(value) else value


def _convert_decimal(value: Decimal) -> int | float | None:
    if value.is_nan():
        return None
    if value.is_finite() and value.adjusted() > _MAX_EXPONENT:
        raise NotJsonError("is too large")
    is_whole = value.is_finite() and value == value.to_integral_value()
    return int(value) if is_whole else _convert_float(float(value))


def _convert_other(value: Any, levels: int) -> Any:
    """Convert a value of a type that the json module does not know."""
    name, package = type(value).__name__, type(value).__module__.partition(".")[0]
    if name in _MISSING_TYPES:
        return None
    if isinstance(value, Decimal):
        return _convert_decimal(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, InlineMedia):
        return value.text
    if isinstance(value, UUID) or is_path(value):
        return str(value)
    if package in _CONVERTERS:
        return to_json_value(getattr(value, _CONVERTERS[package])(), levels - 1)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise NotJsonError("is bytes. Pass a URI, a URL, or base64 as text")
    raise NotJsonError(f"has type {name}, which JSON cannot represent")
