"""Many images in one task, beside what is usually written: quota, CPU, memory; two batches at once; faults.

``python -m benchmarks.batch [SECTION...]`` prints the sections ``quota``, ``memory``, ``together`` and ``faults``, all
of them if none is named, and each figure beside what it is asked to be; it exits with 1 if one is not. That takes half
an hour. ``--images N`` and ``--many N`` make other numbers of images than 240 and 2,400, ``--no-airflow`` leaves out
the mapped tasks.

The emulator is a process of its own with a limit of 24 and images of 450 kB. By its seed all get the same latencies.
``quota`` is the time for which tasks were active between the first submit and the last, as a share of 24 at any time.
``floor`` is list scheduling of the latencies really drawn, on 24 machines, in the order of the submits; ``makespan``
is from the first submit to the last image in its place. CPU is that of the run; ``whole`` counts the start of the
process too. Of an Airflow, all processes are counted. ``others`` is the share of the machine that was at work for
something else: where it is not small, the figures do not say much.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.mapped import Mapped, mapped
from benchmarks.figures import LIMIT, Measured, Used, at_least, at_most, exactly, head, measure
from benchmarks.quota import common_phase, quota_use, spans
from benchmarks.runs import pool, start_batch, used_by
from benchmarks.service import Service, service
from benchmarks.trouble import trouble

EMULATOR = [
    "--image-bytes",
    "450000",
    "--max-active",
    str(LIMIT),
    "--latency-spread",
    "0.25",
    "--seed",
    "1",
]
#: What mapped tasks may take at most, with all that an Airflow needs to run one.
SECONDS_EACH = 6


@dataclass(frozen=True)
class Sizes:
    """How many images are made."""

    images: int
    many: int
    has_airflow: bool


def quota(sizes: Sizes, folder: Path) -> bool:
    """Compare the ways."""
    with service(*EMULATOR, "--latency", "4") as emulator:
        head()
        ours = [_ours(emulator, folder, count) for count in (sizes.images, sizes.many)]
        own = folder / "pool"
        threads = f"{LIMIT} threads, documented loop"
        measure(threads, emulator, own, sizes.images, lambda: pool(emulator, own, sizes.images))
        if sizes.has_airflow:
            with mapped(folder / "cluster", folder, emulator.url, sizes.images) as airflow:
                for dag_id, way in (
                    ("python", "mapped PythonOperator"),
                    ("deferrable", "mapped textbook deferrable"),
                ):
                    _mapped(airflow, dag_id, way, emulator, folder, sizes.images)
    print()
    judged = [_is_as_asked(one) for one in ours]  # all of them are printed
    return all(judged)


def _ours(emulator: Service, folder: Path, count: int) -> Measured:
    own = folder / f"ours-{count}"
    own.mkdir()
    run = lambda: used_by(start_batch(emulator, own, "ours", count).wait())  # noqa: E731
    return measure("FluxGenerateBatchOperator", emulator, own, count, run)


def _mapped(
    airflow: Mapped, dag_id: str, way: str, emulator: Service, folder: Path, count: int
) -> Measured:
    def run() -> Used:
        took = airflow.run(dag_id, timeout=120 + SECONDS_EACH * count)
        if took.failed:
            print(f"{way}: the run is {took.state}, {took.failed} tasks failed", file=sys.stderr)
        return Used(took.cpu, took.cpu, took.peak)

    measured = measure(way, emulator, folder / dag_id, count, run)
    if measured.landed < measured.submits:
        print(
            f"{'':34}{measured.submits - measured.landed} submits were paid for that no image is left of"
        )
    return measured


def _is_as_asked(ours: Measured) -> bool:
    name = f"ours, {ours.images}"
    return all(
        [
            at_least(f"{name}: quota use", ours.use, 0.975),
            exactly(f"{name}: 429s", ours.refused, 0),
            exactly(f"{name}: landed", ours.landed, ours.images),
            exactly(f"{name}: submits", ours.submits, ours.images),
            at_most(f"{name}: makespan over the floor", ours.over, 0.04, ".1%"),
            at_most(f"{name}: CPU ms each", ours.cpu, 25, ".1f"),
            at_most(
                f"{name}: polls each; the documented loop's", ours.polls, ours.usual_polls, ".2f"
            ),
        ]
    )


def memory(sizes: Sizes, folder: Path) -> bool:
    """Compare the peaks of a small and of a large batch."""
    few, many = sizes.images, 10_000 * sizes.many // 2400
    peaks = []
    with service(*EMULATOR, "--latency", "0.2") as emulator:
        for count in (few, many):
            emulator.reset()
            own = folder / f"memory-{count}"
            own.mkdir()
            said = start_batch(emulator, own, "memory", count).wait()
            print(
                f"  {count} images: peak {said['peak']:.0f} MiB, {1000 * said['cpu'] / count:.1f} ms CPU each, "
                f"{count / said['wall']:.1f} images/s"
            )
            peaks.append(said["peak"])
    return at_most(
        f"peak of {many} images above that of {few}, MiB", peaks[1] - peaks[0], 60, ".1f"
    )


def together(sizes: Sizes, folder: Path) -> bool:
    """Run two batches at once on one key."""
    count = sizes.many // 4
    with service(*EMULATOR, "--latency", "4") as emulator:
        batches = [
            start_batch(emulator, _made(folder / name), name, count) for name in ("one", "other")
        ]
        for batch in batches:
            batch.wait()
        timeline = emulator.ask("timeline")
    by_batch = [
        spans(task for task in timeline["tasks"] if task["prompt"].startswith(f"{name} "))
        for name in ("one", "other")
    ]
    phase = common_phase(by_batch)
    uses = [quota_use(active, phase, LIMIT) for active in by_batch]
    submits, refused = len(timeline["tasks"]), timeline["refused"].get("429", 0)
    return all(
        [
            exactly("both: submits", submits, 2 * count),
            *(
                at_least(f"{name}: quota use while both submit", use, 0.4)
                for name, use in zip(("one", "other"), uses, strict=True)
            ),
            at_least("both: quota use while both submit", sum(uses), 0.9),
            at_most("429s as share of submits", refused / (submits + refused), 0.02, ".2%"),
        ]
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


SECTIONS: Mapping[str, tuple[str, Callable[[Sizes, Path], bool]]] = {
    "quota": ("Quota, 4 s ± 25 %", quota),
    "memory": ("Memory, 0.2 s ± 25 %", memory),
    "together": ("Two batches at once on one key, 4 s ± 25 %", together),
    "faults": (
        "1 s ± 25 %, 3 % of polls 500, 2 % of downloads reset, 1 % of submits 503 with the task made, 2 % moderated",
        lambda sizes, folder: trouble(sizes.many, folder, EMULATOR),
    ),
}


def main() -> None:
    """Print the sections."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description="Many images in one task."
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)"
    )
    parser.add_argument(
        "--images", type=int, default=240, help="images that each way makes (default: %(default)s)"
    )
    parser.add_argument(
        "--many", type=int, default=2400, help="images of the long run (default: %(default)s)"
    )
    parser.add_argument("--no-airflow", action="store_true", help="without the mapped tasks")
    options = parser.parse_args()
    sizes = Sizes(options.images, options.many, not options.no_airflow)
    good = []
    for name in options.sections or SECTIONS:
        title, section = SECTIONS[name]
        print(f"\n{title}")
        with tempfile.TemporaryDirectory(
            prefix="flux-bench-", ignore_cleanup_errors=True
        ) as folder:
            good.append(section(sizes, Path(folder)))
    print("\nAll figures are as asked." if all(good) else "\nSome figures are not as asked.")
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
