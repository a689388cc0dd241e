"""Keys of rows: unique in a batch, also after they become file names."""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.landing.output_path import safe_name

_MAX_CHARACTERS = 1024
_MAX_SHOWN_CHARACTERS = 80


class RowKeys:
    """Registers the keys of a batch and refuses repeated ones.

    It keeps a digest of 16 bytes of each key, and not the key.
    """

    def __init__(self) -> None:
        self._positions: dict[bytes, int] = {}

    def register(self, key: Any, position: int, unit: str = "index") -> str:
        """Register the key of a row.

        :param key: value of the column for the key.
        :param position: number that identifies the row in messages.
        :param unit: meaning of ``position``, for example ``line``.
        :return: the key as text without surrounding white space.
        :raises FluxRequestError: if the key is empty, too long, not text or a number, or repeated.
        """
        if key is not None and not isinstance(key, (str, int, float)):
            raise FluxRequestError(f"key is {type(key).__name__}, not text")
        text = "" if key is None else str(key).strip()
        if not text:
            raise FluxRequestError("key is empty")
        if len(text) > _MAX_CHARACTERS:
            raise FluxRequestError(
                f"key {format_key(text)} is longer than {_MAX_CHARACTERS} characters"
            )
        first = self._claim(text, position)
        if first != position:
            raise FluxRequestError(
                f"key {format_key(text)} is taken by {unit} {first}. Keys must differ, also as "
                f"file names (this one becomes {format_key(safe_name(text))})"
            )
        return text

    def register_stand_in(self, index: int, position: int) -> str:
        """Register a generated key for a row whose own key cannot be used.

        :param index: position of the row in the input, from 0.
        :param position: number that identifies the row in messages.
        :return: ``row-<index>``, or ``row-<index>-<n>`` if that is taken.
        """
        names = (f"row-{index}" if not number else f"row-{index}-{number}" for number in count())
        return next(name for name in names if self._claim(name, position) == position)

    def _claim(self, key: str, position: int) -> int:
        """Return the position of the first row with this key."""
        digest = hashlib.blake2b(safe_name(key).encode(), digest_size=16).digest()
        return self._positions.setdefault(digest, position)


def format_key(key: str) -> str:
    """Quote and shorten a key for a message.

    :param key: the key.
    """
    is_long = len(key) > _MAX_SHOWN_CHARACTERS
    return redact(repr(f"{key[:_MAX_SHOWN_CHARACTERS]}..." if is_long else key))
