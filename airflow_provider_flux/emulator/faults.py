"""The catalog of faults: their names, arguments and meaning.

:mod:`~airflow_provider_flux.emulator.fault_scripts` reads them from prompts, headers and options.
The routes in ``http/`` and :mod:`~airflow_provider_flux.emulator.tasks` act on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

#: The step of a request that a fault strikes.
FaultPhase = Literal["submit", "waiting", "delivery"]
#: An argument of a fault.
Argument = Literal["times", "seconds", "text", "status"]

_PLACEHOLDERS: Mapping[Argument, str] = {
    "times": "N",
    "seconds": "SECONDS",
    "text": "TEXT",
    "status": "STATUS",
}


@dataclass(frozen=True)
class FaultKind:
    """One fault of the catalog.

    :param name: name in a script.
    :param phase: the step of a request that it strikes.
    :param meaning: what happens, for the help text and the documentation.
    :param takes: its arguments, in their order.
    :param required: whether the first argument must be written.
    """

    name: str
    phase: FaultPhase
    meaning: str
    takes: tuple[Argument, ...] = ()
    required: bool = False

    @property
    def usage(self) -> str:
        """The fault with placeholders for its arguments: ``rate-limit[=N,SECONDS]``."""
        if not self.takes:
            return self.name
        first, *others = (_PLACEHOLDERS[argument] for argument in self.takes)
        if not self.required:
            return f"{self.name}[={','.join([first, *others])}]"
        return f"{self.name}={first}" + (f"[,{','.join(others)}]" if others else "")

    @property
    def is_of_task(self) -> bool:
        """Whether it belongs to the task as a whole, and not to single answers."""
        return "times" not in self.takes and self.name not in _ANSWERS_WITHOUT_COUNT


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
        "submit-status",
        "submit",
        "HTTP STATUS, for example 408, for the first N submits, no task is made",
        ("status", "times"),
        required=True,
    ),
    FaultKind(
        "submit-status-made",
        "submit",
        "HTTP STATUS, for example 499, although the task is made",
        ("status",),
        required=True,
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
    FaultKind(
        "quote-prompt",
        "submit",
        "422 that quotes the prompt: plain, in upper case, escaped and cut",
    ),
    FaultKind("foreign-polling-url", "submit", "polling_url on a host that is not BFL's"),
    FaultKind("no-polling-url", "submit", "no polling_url in the answer"),
    FaultKind(
        "absurd-cost",
        "submit",
        "the cost in all answers is TEXT, for example -3, NaN or Infinity",
        ("text",),
        required=True,
    ),
    FaultKind("slow", "waiting", "the task takes SECONDS", ("seconds",), required=True),
    FaultKind("stuck", "waiting", "Pending for ever"),
    FaultKind("held", "waiting", "Pending until POST /_emulator/release"),
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
    FaultKind("error-503", "waiting", "Error, with HTTP status 503, as of a task of FLUX 3"),
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
    FaultKind(
        "poll-moved", "waiting", "307 to the polling URL itself for the first N polls", ("times",)
    ),
    FaultKind(
        "poll-regional",
        "waiting",
        "307 to the other name of this machine, localhost or 127.0.0.1, for the first N polls",
        ("times",),
    ),
    FaultKind(
        "poll-bomb",
        "waiting",
        "JSON of 256 MiB, in 256 KiB of gzip, for the first N polls",
        ("times",),
    ),
    FaultKind(
        "poll-drip",
        "waiting",
        "the answer to the first N polls has a byte every SECONDS (0.5), for ten minutes",
        ("times", "seconds"),
    ),
    FaultKind("no-result", "waiting", "Ready without a result for the first N polls", ("times",)),
    FaultKind("result-lists", "waiting", "the URLs of the result are in lists only"),
    FaultKind("error-at-top", "waiting", "Error whose reason is in 'error', beside 'status'"),
    FaultKind("error-in-result", "waiting", "Error whose reason is in 'result.details'"),
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
        "expired",
        "delivery",
        "403 as of an expired URL for the first N downloads; if always, the URL says so itself",
        ("times",),
    ),
    FaultKind(
        "deliver-403",
        "delivery",
        "403 for the first N downloads, although the URL has not expired",
        ("times",),
    ),
    FaultKind("deliver-503", "delivery", "503 for the first N downloads", ("times", "seconds")),
    FaultKind(
        "bomb", "delivery", "256 MiB, in 256 KiB of gzip, for the first N downloads", ("times",)
    ),
    FaultKind(
        "drip",
        "delivery",
        "a byte every SECONDS (0.5), for the first N downloads",
        ("times", "seconds"),
    ),
    FaultKind("redirect-download", "delivery", "302 to a host that is not BFL's"),
    FaultKind(
        "blank",
        "delivery",
        "an image of one colour, for the first N tasks of the prompt",
        ("times",),
    ),
    FaultKind(
        "black", "delivery", "a black image, for the first N tasks of the prompt", ("times",)
    ),
    FaultKind(
        "duplicate",
        "delivery",
        "the same image for all prompts, for the first N tasks of the prompt",
        ("times",),
    ),
    FaultKind(
        "wrong-text",
        "delivery",
        "an image with another caption, for the first N tasks of the prompt",
        ("times",),
    ),
    FaultKind("wrong-size", "delivery", "an image or a video of another size"),
    FaultKind(
        "wrong-format",
        "delivery",
        "an image of another format, under the same content type, also in place of a video",
    ),
)

#: Every fault, by name.
FAULTS: Mapping[str, FaultKind] = MappingProxyType({kind.name: kind for kind in _KINDS})

#: Faults without a count that strike single answers. All others without one belong to the task.
_ANSWERS_WITHOUT_COUNT = frozenset(
    {
        "no-credits",
        "submit-500",
        "submit-503",
        "detail-object",
        "echo-secrets",
        "quote-prompt",
        "poll-redirect",
        "poll-403",
        "redirect-download",
    }
)
