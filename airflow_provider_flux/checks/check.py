"""The argument ``checks``: which checks there are, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from airflow_provider_flux.bfl.errors import FluxRequestError

CheckKind = Literal["not_blank", "not_duplicate", "text", "min_size", "ratio", "function"]
#: The checks that are written as a name alone.
_NAMES: tuple[CheckKind, ...] = ("not_blank", "not_duplicate")
#: The checks that are written as a dict with one member, with an example of its value.
_EXAMPLES = {"text": '"label"', "min_size": "[1024, 768]", "ratio": '"16:9"'}
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_RATIO = re.compile(r"([1-9]\d{0,4}):([1-9]\d{0,4})", re.ASCII)
_MAX_PIXELS_OF_SIDE = 65_535


@dataclass(frozen=True)
class Check:
    """One check.

    :param kind: what is checked. ``function`` calls a function of the user.
    :param label: name of the check in reasons and messages, for example ``ratio=16:9``.
    :param column: column of the input whose text must be legible, for ``text``.
    :param numbers: width and height: the smallest size, or the ratio of the sides.
    :param path: import path of the function.
    """

    kind: CheckKind
    label: str
    column: str = ""
    numbers: tuple[int, int] = (0, 0)
    path: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON values, for the process that carries it out."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Check:
        """Return the check of :meth:`as_dict`.

        :param values: the JSON values.
        """
        width, height = values["numbers"]
        return cls(**{**values, "numbers": (width, height)})


def parse_checks(value: Any) -> tuple[Check, ...]:
    """Check the argument ``checks``, and return its checks in their order. Imports nothing.

    :param value: a list of names, dicts with one member, and import paths of functions; ``None``
        for no check.
    :raises FluxRequestError: naming the member that is wrong, and what is allowed.
    """
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise FluxRequestError(
            f'checks={value!r} must be a list, for example ["not_blank", {{"text": "label"}}].'
        )
    return tuple(_parse_check(f"checks[{number}]", item) for number, item in enumerate(value))


def text_columns(checks: tuple[Check, ...]) -> tuple[str, ...]:
    """Return the columns of the input whose text must be legible.

    :param checks: the checks.
    """
    return tuple(dict.fromkeys(check.column for check in checks if check.kind == "text"))


def _parse_check(name: str, item: Any) -> Check:
    if isinstance(item, str):
        return _parse_name(name, item)
    if isinstance(item, Mapping):
        if len(item) != 1:
            raise FluxRequestError(f"{name}={dict(item)!r} must have one member. {_describe()}")
        (kind, argument), *_ = item.items()
        if kind not in _PARSERS:
            raise FluxRequestError(f"{name}: {kind!r} is no check with a value. {_describe()}")
        return _PARSERS[kind](name, argument)
    if callable(item):
        raise FluxRequestError(
            f"{name} is a function. Write its import path, for example "
            '"my_package.checks.brand_colour": another process imports it.'
        )
    raise FluxRequestError(f"{name}={item!r} is {type(item).__name__}. {_describe()}")


def _parse_name(name: str, text: str) -> Check:
    for kind in _NAMES:
        if text == kind:
            return Check(kind, kind)
    if text in _EXAMPLES:
        raise FluxRequestError(
            f"{name}={text!r} needs a value. Write {{{text!r}: {_EXAMPLES[text]}}}."
        )
    if not _IMPORT_PATH.fullmatch(text):
        raise FluxRequestError(f"{name}={text!r} is no check. {_describe()}")
    return Check("function", text, path=text)


def _parse_text(name: str, column: Any) -> Check:
    if not isinstance(column, str) or not column:
        raise FluxRequestError(f"{name}: text={column!r} must be the name of a column of the rows.")
    return Check("text", f"text={column}", column=column)


def _parse_min_size(name: str, size: Any) -> Check:
    sides = list(size) if isinstance(size, (list, tuple)) else []
    are_pixels = all(type(side) is int and 1 <= side <= _MAX_PIXELS_OF_SIDE for side in sides)
    if len(sides) != 2 or not are_pixels:
        raise FluxRequestError(
            f"{name}: min_size={size!r} must be width and height in pixels, from 1 to "
            f"{_MAX_PIXELS_OF_SIDE}, for example [1024, 768]."
        )
    return Check("min_size", f"min_size={sides[0]}x{sides[1]}", numbers=(sides[0], sides[1]))


def _parse_ratio(name: str, ratio: Any) -> Check:
    match = _RATIO.fullmatch(ratio) if isinstance(ratio, str) else None
    if match is None:
        raise FluxRequestError(
            f'{name}: ratio={ratio!r} must be width and height, for example "16:9".'
        )
    return Check("ratio", f"ratio={ratio}", numbers=(int(match[1]), int(match[2])))


_PARSERS: Mapping[Any, Callable[[str, Any], Check]] = {
    "text": _parse_text,
    "min_size": _parse_min_size,
    "ratio": _parse_ratio,
}


def _describe() -> str:
    examples = ", ".join(f'{{"{kind}": {value}}}' for kind, value in _EXAMPLES.items())
    names = ", ".join(f'"{name}"' for name in _NAMES)
    return f'Known: {names}, {examples}, and import paths such as "my_package.checks.brand_colour".'
