"""Figures of one way to make many images, and their tables and checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.contenders.documented import POLL_SECONDS
from benchmarks.emulator import Emulator
from benchmarks.quota import floor_of, quota_use, read_spans, submitting_phase
from benchmarks.usage import MachineUsage, cpu_of

LIMIT = 24
#: Smallest file that counts as a whole image of 450 kB.
_MIN_IMAGE_BYTES = 400_000
_HEADER = (
    f"{'':34}{'images':>7}{'landed':>7}{'quota':>7}{'429':>5}{'makespan':>10}{'floor':>8}"
    f"{'over':>8}{'CPU ms each':>13}{'whole':>8}{'peak MiB':>10}{'polls':>7}{'others':>8}"
)


@dataclass(frozen=True)
class Usage:
    """CPU and memory of a run.

    :param cpu: CPU seconds of the run.
    :param whole_cpu: CPU seconds that include the start of the process and its imports.
    :param peak: peak memory in MiB.
    """

    cpu: float
    whole_cpu: float
    peak: float


@dataclass(frozen=True)
class Figures:
    """Figures of a run.

    :param way: name of the way to make images.
    :param images: images that were requested.
    :param landed: whole images that were found.
    :param submits: submits that were accepted.
    :param use: used share of the quota while the run submitted.
    :param refused: submits that were refused with 429.
    :param makespan: seconds from the first submit to the last image in its place.
    :param floor: seconds that list scheduling takes for the same latencies.
    :param cpu: CPU milliseconds for each image.
    :param whole_cpu: the same with the start of the process.
    :param peak: peak memory in MiB.
    :param polls: polls for each image.
    :param documented_polls: polls for each image that the documented loop would have made.
    :param others: share of the machine that other processes used. If it is large, the other figures
        mean little.
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
    whole_cpu: float
    peak: float
    polls: float
    documented_polls: float
    others: float

    @property
    def over_floor(self) -> float:
        """Time beyond the floor, as a share of it."""
        return self.makespan / self.floor - 1

    def __str__(self) -> str:
        """Return the row of the table."""
        return (
            f"{self.way:34}{self.images:7}{self.landed:7}{self.use:7.3f}{self.refused:5}"
            f"{self.makespan:10.2f}{self.floor:8.2f}{self.over_floor:8.1%}{self.cpu:13.1f}"
            f"{self.whole_cpu:8.1f}{self.peak:10.0f}{self.polls:7.1f}{self.others:8.0%}"
        )


def measure(
    way: str, emulator: Emulator, folder: Path, images: int, run: Callable[[], Usage]
) -> Figures:
    """Run a way to make images, print its row of the table and return its figures.

    :param way: name of the way.
    :param emulator: emulator that the run submits to. It is reset before.
    :param folder: folder below which the images land.
    :param images: images that the run requests.
    :param run: makes the images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    emulator.reset()
    emulator_process = psutil.Process(emulator.pid)
    cpu_before = cpu_of([emulator_process])
    with MachineUsage() as machine:
        usage = run()
    emulator_cpu = cpu_of([emulator_process]) - cpu_before

    timeline = emulator.read("timeline")
    active = read_spans(timeline["tasks"])
    stats = [path.stat() for path in folder.rglob("*.jp*g")]
    landed = [stat for stat in stats if stat.st_size > _MIN_IMAGE_BYTES]
    documented = sum(math.ceil((span.end - span.start) / POLL_SECONDS) for span in active)
    figures = Figures(
        way=way,
        images=images,
        landed=len(landed),
        submits=len(active),
        use=quota_use(active, submitting_phase(active), LIMIT),
        refused=timeline["refused"].get("429", 0),
        makespan=max(stat.st_mtime for stat in landed) - min(span.start for span in active),
        floor=floor_of(active, LIMIT),
        cpu=1000 * usage.cpu / images,
        whole_cpu=1000 * usage.whole_cpu / images,
        peak=usage.peak,
        polls=sum(entry["polls"] for entry in timeline["tasks"]) / images,
        documented_polls=documented / images,
        others=machine.share_of_others(usage.whole_cpu + emulator_cpu),
    )
    print(figures, flush=True)
    return figures


def print_header() -> None:
    """Print the header of the table."""
    print(_HEADER, flush=True)


def check(name: str, figure: float, expected: str, *, is_met: bool, form: str = "g") -> bool:
    """Print a figure beside the expected one.

    :param name: name of the figure.
    :param figure: the measured figure.
    :param expected: the expectation in words.
    :param is_met: whether the figure meets it.
    :param form: format of the figure.
    :return: ``is_met``.
    """
    answer = "yes" if is_met else "NO "
    print(f"  {answer:3}  {name:58}{figure:>12{form}}   expected: {expected}", flush=True)
    return is_met


def check_at_least(name: str, figure: float, minimum: float, form: str = ".3f") -> bool:
    """Print a figure and its minimum, and return whether it reaches it."""
    return check(name, figure, f"at least {minimum:{form}}", is_met=figure >= minimum, form=form)


def check_at_most(name: str, figure: float, maximum: float, form: str = ".3f") -> bool:
    """Print a figure and its maximum, and return whether it stays within it."""
    return check(name, figure, f"at most {maximum:{form}}", is_met=figure <= maximum, form=form)


def check_equal(name: str, figure: int, expected: int) -> bool:
    """Print a count and the expected one, and return whether they are equal."""
    return check(name, figure, str(expected), is_met=figure == expected, form="d")
