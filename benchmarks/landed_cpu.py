"""CPU of a landed image, of one source tree beside another, and beside the leanest loop.

``python -m benchmarks.landed_cpu [--tree FOLDER]... [--rounds N] [--active N]...`` prints the CPU
milliseconds of an image of 450 kB that takes 4 s ± 25 %, on a local disk and with its journal. All
trees take turns in each round, since a shared machine is not equally fast at all times. By default
the only tree is this one. With ``--images N``, a run is so long that its start weighs little: all
generations of the first wave end at about the same time. ``--profile FOLDER`` writes a profile of
each run, as ``FLUX_PROFILE`` of :mod:`benchmarks.run_batch` does; its CPU is higher.

The emulator is a process of its own, whose CPU is not counted. The columns of the table are:

- ``CPU ms each``: user and system time of a batch, without start and imports of the process.
- ``of first``: the same as a share of the first tree, each round by itself, then the median.
- ``quota``: time in which generations were active, from the first submit to the last, as a share of
  the limit.
- ``images/s``: images submitted in each second of that time.
- ``polls``: polls of an image. ``documented`` are those of the documented loop.

The last row is the floor: download, hash, check of the header, and durable write of the same bytes
by the leanest loop, on one connection. It neither submits nor polls.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders.documented import POLL_SECONDS
from benchmarks.emulator import KEY, Emulator, run_emulator
from benchmarks.quota import quota_use, read_spans, submitting_phase

ROOT = Path(__file__).parents[1]
IMAGE_BYTES = 450_000
NAME = "images"
#: Images of a first batch, which imports what all batches of a process need.
_WARM_UP_IMAGES = 12
#: Images for each active generation, so that start and end of a batch weigh little.
_IMAGES_PER_SLOT = 10
_MAX_IMAGES = 1200
_MIN_IMAGES_PER_SLOT = 3
_SMALLEST_IMAGE = 400_000
_HEADER = (
    f"{'active':>6}  {'tree':34}{'images':>7}{'CPU ms each':>13}{'of first':>10}{'quota':>7}"
    f"{'images/s':>10}{'polls':>7}{'documented':>12}{'429':>5}{'peak MiB':>10}"
)


@dataclass(frozen=True)
class Sample:
    """Figures of one run.

    :param cpu: CPU milliseconds of an image.
    :param quota: used share of the quota.
    :param rate: images submitted in a second.
    :param polls: polls of an image.
    :param documented: polls of an image that the documented loop would have made.
    :param refused: submits that were refused with 429.
    :param peak: peak memory in MiB.
    """

    cpu: float
    quota: float
    rate: float
    polls: float
    documented: float
    refused: int
    peak: float


def run_tree(
    tree: Path, emulator: Emulator, folder: Path, active: int, images: int, profile: Path | None
) -> Sample:
    """Run a batch of one source tree.

    :param tree: folder of the source tree.
    :param emulator: emulator to submit to. It is reset afterwards.
    :param folder: empty folder for the batch.
    :param active: limit of the account.
    :param images: images to make.
    :param profile: file of the profile; ``None`` for none.
    """
    connection = {"conn_type": "flux", "password": KEY, "host": emulator.url}
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "AIRFLOW_HOME": str(folder / "airflow-home"),
        "FLUX_WARM_UP": str(_WARM_UP_IMAGES),
        "AIRFLOW_CONN_FLUX_DEFAULT": json.dumps({**connection, "extra": {"max_active": active}}),
        **({"FLUX_PROFILE": str(profile)} if profile else {}),
    }
    (folder / "airflow-home").mkdir(parents=True)
    # The program of this tree imports the packages of the other one.
    program = Path(__file__).with_name("run_batch.py")
    command = [sys.executable, str(program), NAME, str(folder), str(images)]
    with (folder / "log").open("w") as log:
        process = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=tree
        )
    if process.returncode:
        raise RuntimeError(f"{tree} failed:\n{(folder / 'log').read_text()[-3000:]}")
    report: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    _check_landed(tree, folder, report, images)
    timeline = emulator.read("timeline")
    emulator.reset()
    tasks = [entry for entry in timeline["tasks"] if entry["prompt"].startswith(f"{NAME} ")]
    spans = read_spans(tasks)
    phase = submitting_phase(spans)
    return Sample(
        cpu=1000 * report["cpu"] / images,
        quota=quota_use(spans, phase, active),
        rate=images / (phase.end - phase.start),
        polls=sum(entry["polls"] for entry in tasks) / images,
        documented=sum(math.ceil((span.end - span.start) / POLL_SECONDS) for span in spans)
        / images,
        refused=timeline["refused"].get("429", 0),
        peak=report["peak"],
    )


def _check_landed(tree: Path, folder: Path, report: dict[str, Any], images: int) -> None:
    images_of_run = (folder / NAME).rglob("*.jp*g")
    found = [path for path in images_of_run if path.stat().st_size > _SMALLEST_IMAGE]
    if len(found) != images or report["summary"]["landed"] != images:
        raise RuntimeError(f"{tree}: {len(found)} of {images} images landed: {report}")


def run_floor(emulator: Emulator, folder: Path, images: int) -> float:
    """Return the CPU milliseconds of an image by the leanest loop.

    :param emulator: emulator to download from.
    :param folder: folder for the images.
    :param images: downloads.
    """
    command = [sys.executable, "-m", "benchmarks.contenders.floor", emulator.url, str(folder)]
    process = subprocess.run(
        [*command, str(images)], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    return float(json.loads(process.stdout.splitlines()[-1])["cpu"]) * 1000 / images


@contextmanager
def run_server(active: int) -> Iterator[Emulator]:
    """Run an emulator with images of 450 kB that cost it little."""
    options = ["--image-bytes", str(IMAGE_BYTES), "--max-active", str(active), "--seed", "1"]
    with run_emulator(*options, "--latency-spread", "0.25", "--latency", "4") as emulator:
        yield emulator


def compare(
    trees: Sequence[Path], active: int, rounds: int, images: int | None, profiles: Path | None
) -> None:
    """Run all trees in turns, and print a row for each of them.

    :param trees: folders of the source trees.
    :param active: limit of the account.
    :param rounds: runs of each tree.
    :param images: images of a run; ``None`` for 10 for each active generation, within limits.
    :param profiles: folder of the profiles; ``None`` for none.
    """
    usual = max(min(_IMAGES_PER_SLOT * active, _MAX_IMAGES), _MIN_IMAGES_PER_SLOT * active)
    images = images or usual
    samples: dict[Path, list[Sample]] = {tree: [] for tree in trees}
    floors: list[float] = []
    with run_server(active) as emulator:
        for number in range(rounds):
            for position, tree in enumerate(trees):
                with tempfile.TemporaryDirectory(prefix="flux-bench-") as folder:
                    name = f"{position}-{active}-{number}.prof"
                    profile = profiles / name if profiles else None
                    samples[tree].append(
                        run_tree(tree, emulator, Path(folder), active, images, profile)
                    )
            with tempfile.TemporaryDirectory(prefix="flux-bench-") as folder:
                floors.append(run_floor(emulator, Path(folder), 100))
    first = samples[trees[0]]
    for tree in trees:
        _print_row(active, str(tree), images, samples[tree], first)
    print(f"{active:6}  {'floor':34}{100:7}{median(floors):13.2f}", flush=True)


def _print_row(
    active: int, name: str, images: int, samples: list[Sample], first: list[Sample]
) -> None:
    def middle(field: str) -> float:
        return median(getattr(sample, field) for sample in samples)

    share = median(sample.cpu / other.cpu for sample, other in zip(samples, first, strict=True))
    print(
        f"{active:6}  {name[-34:]:34}{images:7}{middle('cpu'):13.2f}{share:10.2f}"
        f"{middle('quota'):7.3f}{middle('rate'):10.1f}{middle('polls'):7.1f}{middle('documented'):12.1f}"
        f"{middle('refused'):5.0f}{middle('peak'):10.0f}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.landed_cpu", description="CPU of a landed image."
    )
    parser.add_argument("--tree", type=Path, action="append", help="source tree (default: this)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each tree (default: 1)")
    parser.add_argument(
        "--active", type=int, action="append", help="limit of the account (default: 24 and 240)"
    )
    parser.add_argument("--images", type=int, help="images of a run (default: 10 for each active)")
    parser.add_argument(
        "--one-core", action="store_true", help="let each batch use one core (the emulator may not)"
    )
    parser.add_argument("--profile", type=Path, help="folder for profiles")
    options = parser.parse_args()
    if options.one_core:
        os.environ["FLUX_ONE_CORE"] = "1"
    if options.profile:
        options.profile.mkdir(parents=True, exist_ok=True)
    trees = [tree.resolve() for tree in options.tree or [ROOT]]
    print(_HEADER, flush=True)
    for active in options.active or (24, 240):
        compare(trees, active, options.rounds, options.images, options.profile)


if __name__ == "__main__":
    main()
