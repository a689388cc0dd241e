"""Fault scripts: what goes wrong, for which request, and how often.

A fault is written ``NAME``, ``NAME=ARG`` or ``NAME=ARG,ARG``: in the prompt as ``[[fault:NAME=ARG]]``, in the
header ``x-flux-fault`` of a submit as ``NAME=ARG; NAME``, or in the configuration of the server for every
request. Where they name the same fault, the prompt beats the header and the header beats the server.

``@SHARE`` at the end, as in ``poll-500@3%``, leaves it to chance: what answers a request, or a poll or a download of a
task, is drawn for each of them; what belongs to the task is drawn once, when the task is made.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from airflow_provider_flux.emulator.random_source import RandomSource

#: How often a fault strikes that is not counted.
ALWAYS = sys.maxsize

Phase = Literal["submit", "waiting", "delivery"]
Argument = Literal["times", "seconds", "text"]

_SHARE = re.compile(r"@\s*(\d+(?:\.\d+)?)\s*%$")
_MARKER = re.compile(r"\[\[fault:([^\]]*)\]\]")
_SIGNS: Mapping[Argument, str] = {"times": "N", "seconds": "SECONDS", "text": "TEXT"}


class FaultError(ValueError):
    """A fault is unknown, or its argument cannot be read."""


@dataclass(frozen=True)
class Fault:
    """One fault of a request, with its arguments.

    :param times: how many times it strikes, from the first.
    :param seconds: a duration, or the ``Retry-After`` to send.
    :param share: how likely it strikes where it could, 0 to 1.
    """

    name: str
    times: int = ALWAYS
    seconds: float | None = None
    text: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class FaultKind:
    """What a fault does, and the arguments it takes."""

    name: str
    phase: Phase
    meaning: str
    takes: tuple[Argument, ...] = ()
    required: bool = False

    @property
    def usage(self) -> str:
        """How it is written, for example ``rate-limit[=N,SECONDS]``."""
        arguments = ",".join(_SIGNS[argument] for argument in self.takes)
        if not arguments:
            return self.name
        return f"{self.name}={arguments}" if self.required else f"{self.name}[={arguments}]"


_KINDS = (
    FaultKind("rate-limit", "submit", "429 for the first N submits", ("times", "seconds")),
    FaultKind("no-credits", "submit", "402"),
    FaultKind(
        "busy-402", "submit", "402 for the first N submits, although there are credits", ("times",)
    ),
    FaultKind("submit-500", "submit", "500, no task is made"),
    FaultKind("submit-503", "submit", "503 with Retry-After, no task is made", ("seconds",)),
    FaultKind(
        "submit-503-made", "submit", "503 with Retry-After, although the task is made", ("seconds",)
    ),
    FaultKind(
        "submit-hang", "submit", "the task is made, the answer is late", ("seconds",), required=True
    ),
    FaultKind(
        "submit-lost", "submit", "the task is made, the connection is closed within the answer"
    ),
    FaultKind("detail-object", "submit", "422 whose detail is an object"),
    FaultKind(
        "echo-secrets", "submit", "400 that echoes the key, the secret, base64 and a signed URL"
    ),
    FaultKind("foreign-polling-url", "submit", "polling_url on a host that is not BFL's"),
    FaultKind("no-polling-url", "submit", "no polling_url in the answer"),
    FaultKind("slow", "waiting", "the task takes SECONDS", ("seconds",), required=True),
    FaultKind("stuck", "waiting", "Pending for ever"),
    FaultKind(
        "moderated",
        "waiting",
        "Content Moderated, for the reasons TEXT (comma separated)",
        ("text",),
    ),
    FaultKind("request-moderated", "waiting", "Request Moderated, for the reasons TEXT", ("text",)),
    FaultKind("moderated-text", "waiting", "Content Moderated whose details are a plain text"),
    FaultKind("error", "waiting", "Error"),
    FaultKind("error-422", "waiting", "Error, with HTTP status 422"),
    FaultKind(
        "bad-input", "waiting", "Error for an input that cannot be read, with HTTP status 422"
    ),
    FaultKind("failed", "waiting", "Failed"),
    FaultKind("poll-500", "waiting", "500 for the first N polls", ("times",)),
    FaultKind(
        "poll-503", "waiting", "503 for the first N polls, with Retry-After", ("times", "seconds")
    ),
    FaultKind("poll-429", "waiting", "429 for the first N polls", ("times", "seconds")),
    FaultKind(
        "poll-reset",
        "waiting",
        "connection reset within the answer to the first N polls",
        ("times",),
    ),
    FaultKind("poll-html", "waiting", "200 with an HTML page for the first N polls", ("times",)),
    FaultKind("poll-redirect", "waiting", "302 to a host that is not BFL's"),
    FaultKind("poll-403", "waiting", "403"),
    FaultKind("not-found", "waiting", "Task not found for the first N polls", ("times",)),
    FaultKind("lost", "waiting", "Task not found for ever"),
    FaultKind("unknown-status", "waiting", "status Queued for the first N polls", ("times",)),
    FaultKind("state-key", "waiting", "the status is in 'state'"),
    FaultKind("truncate", "delivery", "connection closed within the first N downloads", ("times",)),
    FaultKind("cut", "delivery", "half a file of matching content-length, N times", ("times",)),
    FaultKind(
        "damaged-video", "delivery", "a file that is whole at its head only, N times", ("times",)
    ),
    FaultKind("reset", "delivery", "connection reset within the first N downloads", ("times",)),
    FaultKind("html", "delivery", "200 with an HTML page for the first N downloads", ("times",)),
    FaultKind("empty", "delivery", "200 without a body for the first N downloads", ("times",)),
    FaultKind(
        "expired", "delivery", "403 as of an expired URL for the first N downloads", ("times",)
    ),
    FaultKind("deliver-503", "delivery", "503 for the first N downloads", ("times", "seconds")),
    FaultKind("redirect-download", "delivery", "302 to a host that is not BFL's"),
    FaultKind("wrong-size", "delivery", "an image or a video of another size"),
    FaultKind(
        "wrong-format",
        "delivery",
        "an image of another format, under the same content type, also in place of a video",
    ),
)

#: Every fault there is, by name.
FAULTS: Mapping[str, FaultKind] = MappingProxyType({kind.name: kind for kind in _KINDS})


# These strike a request without a count; all others without one belong to the task.
_ANSWERS_WITHOUT_COUNT = frozenset(
    {
        "no-credits",
        "submit-500",
        "submit-503",
        "detail-object",
        "echo-secrets",
        "poll-redirect",
        "poll-403",
        "redirect-download",
    }
)
_OF_TASKS = (
    frozenset(kind.name for kind in _KINDS if "times" not in kind.takes) - _ANSWERS_WITHOUT_COUNT
)


def parse_fault(text: str) -> Fault:
    """Read one fault, ``NAME`` or ``NAME=ARG,ARG``, and ``@SHARE`` after it if it is left to chance.

    A count may be ``always``. Without one it is 1, but for a fault by chance ``always``.

    :raises FaultError: if the name is unknown, with the known ones, or an argument cannot be read.
    """
    found = _SHARE.search(text.rstrip())
    share = float(found[1]) / 100 if found else 1.0
    name, _, arguments = (
        part.strip() for part in (text[: found.start()] if found else text).partition("=")
    )
    kind = FAULTS.get(name)
    if kind is None:
        raise FaultError(f"Unknown fault {name!r}. Known: {', '.join(FAULTS)}")
    # The last argument keeps its commas: reasons are a list, and a number with a comma is refused.
    given = arguments.split(",", max(len(kind.takes) - 1, 0)) if arguments else []
    if len(given) > len(kind.takes) or (kind.required and not given) or share > 1:
        raise FaultError(
            f"Fault {text!r} must be written {kind.usage}, with @SHARE of at most 100% if by chance"
        )
    values: dict[str, Any] = {"times": ALWAYS if found else 1} if "times" in kind.takes else {}
    try:
        values |= {
            argument: _READERS[argument](value.strip())
            for argument, value in zip(kind.takes, given, strict=False)
        }
    except ValueError as error:
        raise FaultError(f"Fault {text!r} must be written {kind.usage}: {error}") from None
    return Fault(name, **values, share=share)


def parse_faults(texts: Iterable[str]) -> dict[str, Fault]:
    """Read faults; of two with the same name the later one counts.

    :raises FaultError: as :func:`parse_fault`.
    """
    return {fault.name: fault for fault in map(parse_fault, texts)}


def faults_in_prompt(prompt: str) -> list[str]:
    """Return what is written in the markers of a prompt."""
    return _MARKER.findall(prompt)


def faults_in_header(value: str | None) -> list[str]:
    """Return the faults a header names, separated by semicolons."""
    return [part for part in (value or "").split(";") if part.strip()]


def without_markers(prompt: str) -> str:
    """Return the prompt as it is drawn."""
    return " ".join(_MARKER.sub(" ", prompt).split())


class FaultCounter:
    """Remembers how often each fault has struck, and draws those that are left to chance."""

    def __init__(self, chance: RandomSource) -> None:
        self._chance = chance
        self._struck: Counter[tuple[str, Hashable]] = Counter()

    def first_due(
        self, script: Mapping[str, Fault], names: Collection[str], key: Hashable
    ) -> Fault | None:
        """Return the first fault of the script, among ``names``, that is not used up for ``key`` and strikes."""
        for fault in script.values():
            if (
                fault.name in names
                and self._struck[fault.name, key] < fault.times
                and self._strikes(fault)
            ):
                self._struck[fault.name, key] += 1
                return fault
        return None

    def of_task(self, script: Mapping[str, Fault]) -> dict[str, Fault]:
        """Return the script of a task that is made now, without the faults of tasks that chance spares it."""
        return {
            name: fault
            for name, fault in script.items()
            if name not in _OF_TASKS or self._strikes(fault)
        }

    def _strikes(self, fault: Fault) -> bool:
        return fault.share >= 1 or self._chance.strikes(fault.name, fault.share)


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


_READERS: Mapping[Argument, Callable[[str], int | float | str]] = {
    "times": _read_times,
    "seconds": _read_seconds,
    "text": str,
}
