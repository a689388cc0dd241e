"""Keys of rows: unique in a batch, also after they become file names."""

from __future__ import annotations

import hashlib
import unicodedata
from decimal import Decimal
from itertools import count
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.landing.object_name import safe_name

_MAX_CHARACTERS = 1024
_MAX_SHOWN_CHARACTERS = 80
#: From here on a float may have lost digits of the number that it was read from.
_FIRST_INEXACT_FLOAT = 2**53


class RowKeys:
    """Registers the keys of a batch and refuses repeated ones.

    It keeps a digest of 16 bytes of each key, and not the key.
    """

    def __init__(self) -> None:
        self._positions: dict[bytes, int] = {}

    def register(self, key: str, position: int, unit: str = "index") -> None:
        """Register the key of a row.

        :param key: the key as :func:`parse_key` returns it.
        :param position: number that identifies the row in messages.
        :param unit: meaning of ``position``, for example ``line``.
        :raises FluxRequestError: if an earlier row has the key, or one with the same file name.
        """
        first = self._claim(key, position)
        if first != position:
            raise FluxRequestError(
                f"key {format_key(key)} is taken by {unit} {first}. Keys must differ, also as "
                f"file names (this one becomes {format_key(safe_name(key))})"
            )

    def register_stand_in(self, position: int) -> str:
        """Register a generated key for a row without a key that can be used.

        :param position: number that identifies the row in messages.
        :return: ``row-<position>``, or ``row-<position>-<n>`` if that is taken.
        """
        names = (
            f"row-{position}" if not number else f"row-{position}-{number}" for number in count()
        )
        return next(name for name in names if self._claim(name, position) == position)

    def _claim(self, key: str, position: int) -> int:
        """Return the position of the first row with this key."""
        digest = hashlib.blake2b(safe_name(key).encode(), digest_size=16).digest()
        return self._positions.setdefault(digest, position)


def parse_key(value: Any) -> str:
    """Return the key that a value stands for, whatever the type of its column.

    The whole number 101 is the key ``101`` as an integer, a float or a decimal. Other decimals keep
    their digits. Text is in the normal form C of Unicode.

    :param value: value of the column for the key.
    :return: the key as text without surrounding white space.
    :raises FluxRequestError: if the key is empty, too long, not text or a number, or a float that
        may have lost digits.
    """
    if value is not None and not isinstance(value, (str, int, float, Decimal)):
        raise FluxRequestError(f"key is {type(value).__name__}, not text")
    text = "" if value is None else unicodedata.normalize("NFC", _format_value(value)).strip()
    if not text:
        raise FluxRequestError("key is empty")
    if len(text) > _MAX_CHARACTERS:
        raise FluxRequestError(
            f"key {format_key(text)} is longer than {_MAX_CHARACTERS} characters"
        )
    return text


def _format_value(value: str | float | Decimal) -> str:
    if isinstance(value, float) and abs(value) >= _FIRST_INEXACT_FLOAT:
        raise FluxRequestError(
            f"key {value!r} is a float, which may have lost digits. Make the column text"
        )
    if isinstance(value, Decimal):
        if abs(value.adjusted()) > _MAX_CHARACTERS:
            raise FluxRequestError(f"key {format_key(str(value))} is too large or too small")
        return str(int(value)) if value == value.to_integral_value() else f"{value:f}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def format_key(key: str) -> str:
    """Quote and shorten a key for a message.

    :param key: the key.
    """
    is_long = len(key) > _MAX_SHOWN_CHARACTERS
    return redact(repr(f"{key[:_MAX_SHOWN_CHARACTERS]}..." if is_long else key))
