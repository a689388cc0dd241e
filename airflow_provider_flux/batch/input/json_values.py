"""Values of rows as plain JSON: what data frames, Parquet files and other tasks give in their own types."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from airflow_provider_flux.bfl.inputs import InlineMedia, is_path

#: What pandas writes where there is no value.
_NOTHING = frozenset({"NAType", "NaTType"})
#: By which method the values of a package give those of Python.
_CONVERTERS = {"numpy": "tolist", "pyarrow": "as_py"}


class NotJsonError(ValueError):
    """A value that cannot be sent as JSON. Its text is the end of a sentence that begins with the name of the value."""


def as_plain(value: Any) -> Any:
    """Return a value as plain JSON; ``None``, NaN and the like mean "not given".

    :raises NotJsonError: if JSON has no such value.
    """
    kind = type(value)
    if value is None or kind is int or kind is bool:
        return value
    if isinstance(value, Enum):
        return as_plain(value.value)
    if isinstance(value, int):  # of a subclass
        return int(value)
    if isinstance(value, str):
        return _text(str(value))
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, Mapping):
        return {str(name): as_plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [as_plain(item) for item in value]
    return _converted(value)


def _text(value: str) -> str:
    """Refuse half a character, which some JSON holds as an escape: no store and no database takes it."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotJsonError("holds a surrogate alone, which is no character") from None
    return value


def _number(value: float) -> float | None:
    if math.isinf(value):
        raise NotJsonError("is infinite")
    return None if math.isnan(value) else value


def _decimal(value: Decimal) -> int | float | None:
    if value.is_nan():
        return None
    is_whole = value.is_finite() and value == value.to_integral_value()
    return int(value) if is_whole else _number(float(value))


def _converted(value: Any) -> Any:
    """Return what a value of a type that is not JSON's stands for."""
    name, package = type(value).__name__, type(value).__module__.partition(".")[0]
    if name in _NOTHING:
        return None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, InlineMedia):
        return value.text
    if isinstance(value, UUID) or is_path(value):
        return str(value)
    if package in _CONVERTERS:
        return as_plain(getattr(value, _CONVERTERS[package])())
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise NotJsonError("is bytes: give a URI, a URL, or base64 as text")
    raise NotJsonError(f"is of the type {name}, which JSON has not")
