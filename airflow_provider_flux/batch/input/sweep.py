"""The sweep of a batch: each row with each combination of the values of ``matrix``."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from airflow_provider_flux.batch.input.cell_text import format_value
from airflow_provider_flux.batch.input.json_values import NotJsonError, to_json_value
from airflow_provider_flux.bfl.errors import FluxRequestError

#: Combinations of each row. More are probably a mistake, and each of them is billed.
MAX_COMBINATIONS = 1000
_MAX_SLUG_CHARACTERS = 24
_HASH_DIGITS = 6
_MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Combination:
    """One combination of the values of all axes.

    :param number: its position in the order of the sweep, from 0.
    :param count: number of all combinations.
    :param values: value by axis.
    :param suffix: end of the keys of its rows, for example ``-oil-2``; empty without axes.
    """

    number: int
    count: int
    values: Mapping[str, Any]
    suffix: str

    @property
    def label(self) -> str:
        """The values for messages, for example ``style='oil', seed=2``."""
        return ", ".join(f"{name}={_show(value)}" for name, value in self.values.items())


#: The only combination of a batch without ``matrix``.
WHOLE_ROW = Combination(0, 1, {}, "")


@dataclass(frozen=True)
class Sweep:
    """The axes of a sweep, with the part of the key that each of their values gives.

    :param axes: values and their parts of the key, by axis.
    """

    axes: Mapping[str, tuple[tuple[Any, str], ...]]

    @classmethod
    def parse(cls, matrix: Any) -> Sweep:
        """Parse the argument ``matrix``.

        :param matrix: dict of lists of values by axis; ``None`` for no axes.
        :raises FluxRequestError: if it is none, an axis has no value, a value twice, or one that
            JSON cannot represent, or if there are too many combinations.
        """
        if matrix is None:
            return cls({})
        if not isinstance(matrix, Mapping) or not matrix:
            raise FluxRequestError(
                "matrix must be a dict of lists, for example {'style': ['oil', 'ink']}."
            )
        axes = {name: _parse_axis(name, values) for name, values in matrix.items()}
        count = math.prod(map(len, axes.values()))
        if count > MAX_COMBINATIONS:
            raise FluxRequestError(
                f"matrix has {count} combinations for each row, and may have {MAX_COMBINATIONS}. "
                "Remove values, or make several batches."
            )
        return cls(axes)

    @property
    def count(self) -> int:
        """Number of combinations of each row."""
        return math.prod(map(len, self.axes.values()))

    def combinations(self) -> Iterator[Combination]:
        """Yield the combinations. The last axis changes fastest."""
        if not self.axes:
            yield WHOLE_ROW
            return
        for number, chosen in enumerate(product(*self.axes.values())):
            values = {name: value for name, (value, _) in zip(self.axes, chosen, strict=True)}
            suffix = "".join(f"-{slug}" for _, slug in chosen)
            yield Combination(number, self.count, values, suffix)


def slug_of(value: Any, axis: str = "") -> str:
    """Return the part of a key that stands for a value, without a hyphen.

    It has letters, digits and dots. A space becomes ``_``, and so does a hyphen in the name of a
    model. If anything else had to be replaced or cut, six digits of a hash of the value follow
    after ``__``. So it depends on the value alone, and other values give other parts.

    :param value: plain JSON.
    :param axis: name of the axis.
    """
    separator = "-" if axis == "model" else " "
    text = unicodedata.normalize("NFC", format_value(value))
    body = "".join(
        character if _is_kept(character, text[:position]) else "_"
        for position, character in enumerate(text)
    )
    is_exact = (
        all(
            replaced == character or (character == separator and replaced == "_")
            for character, replaced in zip(text, body, strict=True)
        )
        and "_" not in text
    )
    is_regular = "__" not in body and body == body.strip("_") and body
    if is_exact and is_regular and len(body) <= _MAX_SLUG_CHARACTERS:
        return body
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    short = re.sub("_+", "_", body)[:_MAX_SLUG_CHARACTERS].strip("_")
    return f"{short}__{digest}"


def _is_kept(character: str, before: str) -> bool:
    """Whether a character of a value stands in a key: also a mark that belongs to a letter."""
    if character.isalnum() or character == ".":
        return True
    last = before[-1:]
    return _is_mark(character) and bool(last) and (last.isalnum() or _is_mark(last))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _parse_axis(name: Any, values: Any) -> tuple[tuple[Any, str], ...]:
    """Return the values of an axis, each with its part of the key."""
    if not isinstance(name, str) or not name.strip():
        raise FluxRequestError(f"matrix has the axis {_show(name)}, which is no name.")
    is_list = isinstance(values, Sequence) and not isinstance(values, (str, bytes, bytearray))
    if not is_list or not len(values):
        raise FluxRequestError(
            f"matrix[{name!r}]={_show(values)} must be a list of one value or more."
        )
    if len(values) > MAX_COMBINATIONS:
        raise FluxRequestError(
            f"matrix[{name!r}] has {len(values)} values, and may have {MAX_COMBINATIONS}."
        )
    parsed: list[tuple[Any, str]] = []
    texts: set[str] = set()
    slugs: dict[str, Any] = {}
    for value in values:
        try:
            plain = to_json_value(value)
            text = unicodedata.normalize("NFC", format_value(plain))
        except (NotJsonError, ValueError) as error:
            raise FluxRequestError(f"matrix[{name!r}] has a value that {error}.") from None
        if not text.strip():
            raise FluxRequestError(f"matrix[{name!r}] has an empty value. Remove it.")
        if text in texts:
            raise FluxRequestError(
                f"matrix[{name!r}] has {_show(value)} twice, also as text. BFL would bill both."
            )
        texts.add(text)
        slug = slug_of(plain, name)
        if slug in slugs:
            raise FluxRequestError(
                f"matrix[{name!r}] has {_show(slugs[slug])} and {_show(value)}, which give the "
                "same part of a key. Change one of them."
            )
        slugs[slug] = value
        parsed.append((plain, slug))
    return tuple(parsed)


def _show(value: Any) -> str:
    shown = repr(value)
    too_long = len(shown) > _MAX_SHOWN_CHARACTERS
    return f"{shown[:_MAX_SHOWN_CHARACTERS]}..." if too_long else shown
