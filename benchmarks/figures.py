"""Figures of one way to make many images, and how they are printed: each beside what it is asked to be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.contenders.documented import INTERVAL
from benchmarks.quota import floor_of, quota_use, spans, submitting_phase
from benchmarks.service import Service
from benchmarks.usage import Machine, cpu_of

LIMIT = 24
#: Below this no file is a whole image of 450 kB.
_WHOLE = 400_000
_HEAD = (
    f"{'':34}{'images':>7}{'landed':>7}{'quota':>7}{'429':>5}{'makespan':>10}{'floor':>8}{'over':>8}"
    f"{'CPU ms each':>13}{'whole':>8}{'peak MiB':>10}{'polls':>7}{'others':>8}"
)


@dataclass(frozen=True)
class Used:
    """What a run took.

    :param cpu: CPU seconds of the run.
    :param whole: CPU seconds with the start of the process and its imports.
    :param peak: MiB.
    """

    cpu: float
    whole: float
    peak: float


@dataclass(frozen=True)
class Measured:
    """The figures of a run. ``polls``, ``cpu`` and ``whole`` are for each image, CPU in milliseconds.

    ``usual_polls`` is what the documented loop would have asked for the latencies that were drawn. ``others`` is the
    share of the machine that was not at work for the run: figures of a busy machine do not say much.
    """

    way: str
    images: int
    landed: int
    submits: int
    use: float
    refused: int
    makespan: float
    floor: float
    cpu: float
    whole: float
    peak: float
    polls: float
    usual_polls: float
    others: float

    @property
    def over(self) -> float:
        """How much longer than the floor it took, as a share."""
        return self.makespan / self.floor - 1

    def __str__(self) -> str:
        """Return its row of the table."""
        return (
            f"{self.way:34}{self.images:7}{self.landed:7}{self.use:7.3f}{self.refused:5}{self.makespan:10.2f}"
            f"{self.floor:8.2f}{self.over:8.1%}{self.cpu:13.1f}{self.whole:8.1f}{self.peak:10.0f}{self.polls:7.1f}"
            f"{self.others:8.0%}"
        )


def measure(
    way: str, emulator: Service, folder: Path, images: int, run: Callable[[], Used]
) -> Measured:
    """Run something that lands images below a folder, and ask the emulator what it did."""
    folder.mkdir(parents=True, exist_ok=True)
    emulator.reset()
    service = psutil.Process(emulator.pid)
    before = cpu_of([service])
    with Machine() as machine:
        used = run()
    served = cpu_of([service]) - before
    timeline = emulator.ask("timeline")
    active = spans(timeline["tasks"])
    files = [status for path in folder.rglob("*.jp*g") if (status := path.stat()).st_size > _WHOLE]
    measured = Measured(
        way=way,
        images=images,
        landed=len(files),
        submits=len(active),
        use=quota_use(active, submitting_phase(active), LIMIT),
        refused=timeline["refused"].get("429", 0),
        makespan=max(status.st_mtime for status in files) - min(span.start for span in active),
        floor=floor_of(active, LIMIT),
        cpu=1000 * used.cpu / images,
        whole=1000 * used.whole / images,
        peak=used.peak,
        polls=sum(task["polls"] for task in timeline["tasks"]) / images,
        usual_polls=sum(math.ceil((span.end - span.start) / INTERVAL) for span in active) / images,
        others=machine.others(used.whole + served),
    )
    print(measured, flush=True)
    return measured


def head() -> None:
    """Print the head of the table."""
    print(_HEAD, flush=True)


def asked(what: str, figure: float, wanted: str, *, good: bool, form: str = "g") -> bool:
    """Print a figure beside what it is asked to be; return whether it is that."""
    print(
        f"  {'yes' if good else 'NO ':3}  {what:58}{figure:>12{form}}   asked: {wanted}", flush=True
    )
    return good


def at_least(what: str, figure: float, wanted: float, form: str = ".3f") -> bool:
    """Print a figure that is not to be smaller."""
    return asked(what, figure, f"at least {wanted:{form}}", good=figure >= wanted, form=form)


def at_most(what: str, figure: float, wanted: float, form: str = ".3f") -> bool:
    """Print a figure that is not to be larger."""
    return asked(what, figure, f"at most {wanted:{form}}", good=figure <= wanted, form=form)


def exactly(what: str, figure: int, wanted: int) -> bool:
    """Print a count that is to be just that."""
    return asked(what, figure, str(wanted), good=figure == wanted, form="d")
