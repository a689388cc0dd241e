"""Fault scripts: which faults strike a request, and how often.

A fault is written ``NAME``, ``NAME=ARG`` or ``NAME=ARG,ARG``: in the prompt as
``[[fault:NAME=ARG]]``, in the header ``x-flux-fault`` of a submit as ``NAME=ARG; NAME``, or in the
configuration of the server for every request. If they name the same fault, the prompt beats the
header and the header beats the server.

``@SHARE`` at the end, as in ``poll-500@3%``, is a probability. A fault of single answers is drawn
for each submit, poll and download. A fault of the task is drawn once, when the task is made.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.emulator.faults import FAULTS, Argument
from airflow_provider_flux.emulator.random_source import RandomSource

#: The count of a fault that strikes without end.
ALWAYS = sys.maxsize

_SHARE = re.compile(r"@\s*(\d+(?:\.\d+)?)\s*%$")
_MARKER = re.compile(r"\[\[fault:([^\]]*)\]\]")


class FaultError(ValueError):
    """A fault is unknown, or its argument cannot be read."""


@dataclass(frozen=True)
class Fault:
    """A fault with the arguments of one script.

    :param name: a key of :data:`~airflow_provider_flux.emulator.faults.FAULTS`.
    :param times: how many times it strikes, from the first.
    :param seconds: a duration, or the ``Retry-After`` to send; ``None`` without one.
    :param text: the reasons of a moderation, separated by commas.
    :param status: an HTTP status; 0 without one.
    :param probability: how likely it strikes each time it could, 0 to 1.
    """

    name: str
    times: int = ALWAYS
    seconds: float | None = None
    text: str = ""
    status: int = 0
    probability: float = 1.0

    @property
    def is_endless(self) -> bool:
        """Whether it strikes each time it could, without end."""
        return self.times == ALWAYS and self.probability >= 1


def parse_fault(text: str) -> Fault:
    """Read one fault.

    :param text: ``NAME`` or ``NAME=ARG,ARG``, and ``@SHARE`` after it for a probability. A count
        may be ``always``. Without a count it is 1, or ``always`` for a fault with a probability.
    :raises FaultError: if the name is unknown, or an argument cannot be read.
    """
    share = _SHARE.search(text.rstrip())
    probability = float(share[1]) / 100 if share else 1.0
    script = text[: share.start()] if share else text
    name, _, arguments = (part.strip() for part in script.partition("="))

    kind = FAULTS.get(name)
    if kind is None:
        raise FaultError(f"Unknown fault {name!r}. Known: {', '.join(FAULTS)}")
    # The last argument keeps its commas: reasons are a list, and a number with a comma is refused.
    values = arguments.split(",", max(len(kind.takes) - 1, 0)) if arguments else []
    is_incomplete = kind.required and not values
    if len(values) > len(kind.takes) or is_incomplete or probability > 1:
        raise FaultError(
            f"Fault {text!r} must be written {kind.usage}, optionally with @SHARE of at most 100%"
        )

    parsed: dict[str, Any] = {"times": ALWAYS if share else 1} if "times" in kind.takes else {}
    try:
        for argument, value in zip(kind.takes, values, strict=False):
            parsed[argument] = _READERS[argument](value.strip())
    except ValueError as error:
        raise FaultError(f"Fault {text!r} must be written {kind.usage}: {error}") from None
    return Fault(name, **parsed, probability=probability)


def parse_faults(texts: Iterable[str]) -> dict[str, Fault]:
    """Read faults, by name; of two with the same name the later one counts.

    :param texts: faults as :func:`parse_fault` takes them.
    :raises FaultError: as :func:`parse_fault`.
    """
    return {fault.name: fault for fault in map(parse_fault, texts)}


def faults_in_prompt(prompt: str) -> list[str]:
    """Return the faults in the markers of a prompt.

    :param prompt: a prompt as it was sent.
    """
    return _MARKER.findall(prompt)


def faults_in_header(value: str | None) -> list[str]:
    """Return the faults in a header.

    :param value: faults separated by semicolons; ``None`` if the header is missing.
    """
    return [part for part in (value or "").split(";") if part.strip()]


def remove_markers(prompt: str) -> str:
    """Return a prompt without its fault markers, as it is drawn.

    :param prompt: a prompt as it was sent.
    """
    return " ".join(_MARKER.sub(" ", prompt).split())


class FaultCounter:
    """Counts how often each fault has struck, and draws those with a probability.

    :param random_source: the source of the draws.
    """

    def __init__(self, random_source: RandomSource) -> None:
        self._random_source = random_source
        self._struck: Counter[tuple[str, Hashable]] = Counter()

    def next_due(
        self, script: Mapping[str, Fault], names: Collection[str], key: Hashable
    ) -> Fault | None:
        """Return the next fault that strikes, and count it; ``None`` if none does.

        :param script: the faults of a request, by name.
        :param names: names of the faults that can strike now.
        :param key: identifies the request, so that each has counts of its own.
        """
        for fault in script.values():
            is_left = self._struck[fault.name, key] < fault.times
            if fault.name in names and is_left and self._strikes(fault):
                self._struck[fault.name, key] += 1
                return fault
        return None

    def draw_task_faults(self, script: Mapping[str, Fault]) -> dict[str, Fault]:
        """Return a script for a new task, without the faults of tasks that the draw leaves out.

        :param script: the faults of a request, by name.
        """
        return {
            name: fault
            for name, fault in script.items()
            if not FAULTS[name].is_of_task or self._strikes(fault)
        }

    def _strikes(self, fault: Fault) -> bool:
        return fault.probability >= 1 or self._random_source.draw_event(
            fault.name, fault.probability
        )


def _read_times(text: str) -> int:
    if text == "always":
        return ALWAYS
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number or 'always'")
    return int(text)


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r} is not a number of seconds")
    return seconds


def _read_status(text: str) -> int:
    if not text.isdecimal() or not 400 <= int(text) <= 599:
        raise ValueError(f"{text!r} is not an HTTP status from 400 to 599")
    return int(text)


_READERS: Mapping[Argument, Callable[[str], int | float | str]] = {
    "times": _read_times,
    "seconds": _read_seconds,
    "text": str,
    "status": _read_status,
}
