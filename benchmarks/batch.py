"""Many images in one task, compared with other ways, and checked against expected figures.

``python -m benchmarks.batch [SECTION...]`` prints the sections ``quota``, ``memory``, ``together``
and ``faults``, or those that are named. It prints each checked figure beside the expected one, and
exits with 1 if a figure is not as expected. All sections take half an hour. ``--images N`` and
``--many N`` change the numbers of images, 240 and 2,400. ``--no-airflow`` leaves out mapped tasks.

The emulator is a process of its own with a limit of 24 and images of 450 kB. It has a seed, so that
all ways get the same latencies. The columns of the table are:

- ``quota``: time in which generations were active, from the first submit to the last, as a share of
  24 at any time.
- ``floor``: list scheduling of the drawn latencies on 24 machines, in the order of the submits.
- ``makespan``: time from the first submit to the last image in its place.
- ``CPU``: CPU time of the run. ``whole`` includes the start of the process. For Airflow, all its
  processes count.
- ``others``: share of the machine that other processes used. If it is large, the figures mean
  little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.mapped import MappedCluster, start_cluster
from benchmarks.emulator import Emulator, run_emulator
from benchmarks.faults import run_faults
from benchmarks.figures import (
    LIMIT,
    Figures,
    Usage,
    check_at_least,
    check_at_most,
    check_equal,
    measure,
    print_header,
)
from benchmarks.quota import common_phase, quota_use, read_spans
from benchmarks.runs import run_pool, start_batch, usage_of

EMULATOR_OPTIONS = [
    *("--image-bytes", "450000"),
    *("--max-active", str(LIMIT)),
    *("--latency-spread", "0.25"),
    *("--seed", "1"),
]
#: Most seconds that Airflow may need to run one mapped task.
SECONDS_PER_MAPPED_TASK = 6


@dataclass(frozen=True)
class Sizes:
    """Sizes of the runs.

    :param images: images that each way makes.
    :param many: images of the long run.
    :param has_airflow: whether mapped tasks are measured.
    """

    images: int
    many: int
    has_airflow: bool


def run_quota(sizes: Sizes, folder: Path) -> bool:
    """Compare the ways to make many images, and check the figures of the operator."""
    with run_emulator(*EMULATOR_OPTIONS, "--latency", "4") as emulator:
        print_header()
        ours = [_measure_operator(emulator, folder, count) for count in (sizes.images, sizes.many)]
        pool_folder = folder / "pool"
        measure(
            f"{LIMIT} threads, documented loop",
            emulator,
            pool_folder,
            sizes.images,
            lambda: run_pool(emulator, pool_folder, sizes.images),
        )
        if sizes.has_airflow:
            _measure_mapped_tasks(emulator, folder, sizes.images)
    print()
    are_as_expected = [_check_figures(figures) for figures in ours]  # print all of them
    return all(are_as_expected)


def _measure_operator(emulator: Emulator, folder: Path, count: int) -> Figures:
    batch_folder = folder / f"ours-{count}"
    batch_folder.mkdir()

    def run() -> Usage:
        return usage_of(start_batch(emulator, batch_folder, "ours", count).wait())

    return measure("FluxGenerateBatchOperator", emulator, batch_folder, count, run)


def _measure_mapped_tasks(emulator: Emulator, folder: Path, count: int) -> None:
    with start_cluster(folder / "cluster", folder, emulator, count) as cluster:
        _measure_dag(cluster, "ours", "mapped FluxGenerateOperator", emulator, folder, count)
        _measure_dag(cluster, "python", "mapped PythonOperator", emulator, folder, count)
        _measure_dag(cluster, "deferrable", "mapped textbook deferrable", emulator, folder, count)


def _measure_dag(
    cluster: MappedCluster, dag_id: str, way: str, emulator: Emulator, folder: Path, count: int
) -> None:
    def run() -> Usage:
        dag_run = cluster.run(dag_id, timeout=120 + SECONDS_PER_MAPPED_TASK * count)
        if dag_run.failed:
            message = f"{way}: the run is {dag_run.state}, {dag_run.failed} tasks failed"
            print(message, file=sys.stderr)
        return Usage(dag_run.cpu, dag_run.cpu, dag_run.peak)

    figures = measure(way, emulator, folder / dag_id, count, run)
    if figures.landed < figures.submits:
        print(f"{'':34}{figures.submits - figures.landed} submits were billed without an image")


def _check_figures(ours: Figures) -> bool:
    name = f"ours, {ours.images}"
    return all(
        [
            check_at_least(f"{name}: quota use", ours.use, 0.975),
            check_equal(f"{name}: 429s", ours.refused, 0),
            check_equal(f"{name}: landed", ours.landed, ours.images),
            check_equal(f"{name}: submits", ours.submits, ours.images),
            check_at_most(f"{name}: makespan over the floor", ours.over_floor, 0.04, ".1%"),
            check_at_most(f"{name}: CPU ms each", ours.cpu, 25, ".1f"),
            check_at_most(
                f"{name}: polls each (documented loop)", ours.polls, ours.documented_polls, ".2f"
            ),
        ]
    )


def run_memory(sizes: Sizes, folder: Path) -> bool:
    """Compare the peak memory of a small and of a large batch."""
    few, many = sizes.images, 10_000 * sizes.many // 2400
    peaks = []
    with run_emulator(*EMULATOR_OPTIONS, "--latency", "0.2") as emulator:
        for count in (few, many):
            emulator.reset()
            batch_folder = _make_folder(folder / f"memory-{count}")
            report = start_batch(emulator, batch_folder, "memory", count).wait()
            print(
                f"  {count} images: peak {report['peak']:.0f} MiB, "
                f"{1000 * report['cpu'] / count:.1f} ms CPU each, "
                f"{count / report['wall']:.1f} images/s"
            )
            peaks.append(report["peak"])
    return check_at_most(
        f"peak of {many} images above that of {few}, MiB", peaks[1] - peaks[0], 60, ".1f"
    )


def run_together(sizes: Sizes, folder: Path) -> bool:
    """Run two batches at the same time with one key."""
    count = sizes.many // 4
    names = ("one", "other")
    with run_emulator(*EMULATOR_OPTIONS, "--latency", "4") as emulator:
        batches = [
            start_batch(emulator, _make_folder(folder / name), name, count) for name in names
        ]
        for batch in batches:
            batch.wait()
        timeline = emulator.read("timeline")

    generations = timeline["tasks"]
    by_batch = [
        read_spans(entry for entry in generations if entry["prompt"].startswith(f"{name} "))
        for name in names
    ]
    phase = common_phase(by_batch)
    uses = [quota_use(active, phase, LIMIT) for active in by_batch]
    submits, refused = len(generations), timeline["refused"].get("429", 0)
    return all(
        [
            check_equal("both: submits", submits, 2 * count),
            *(
                check_at_least(f"{name}: quota use while both submit", use, 0.4)
                for name, use in zip(names, uses, strict=True)
            ),
            check_at_least("both: quota use while both submit", sum(uses), 0.9),
            check_at_most("429s as share of submits", refused / (submits + refused), 0.02, ".2%"),
        ]
    )


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


SECTIONS: Mapping[str, tuple[str, Callable[[Sizes, Path], bool]]] = {
    "quota": ("Quota, 4 s ± 25 %", run_quota),
    "memory": ("Memory, 0.2 s ± 25 %", run_memory),
    "together": ("Two batches at once with one key, 4 s ± 25 %", run_together),
    "faults": (
        "1 s ± 25 %; 3 % of polls answered 500, 2 % of downloads reset, 1 % of submits answered "
        "503 though accepted, 2 % moderated",
        lambda sizes, folder: run_faults(sizes.many, folder, EMULATOR_OPTIONS),
    ),
}


def main() -> None:
    """Print the sections."""
    options = _parse_arguments()
    sizes = Sizes(options.images, options.many, not options.no_airflow)
    are_as_expected = []
    for name in options.sections or SECTIONS:
        title, run_section = SECTIONS[name]
        print(f"\n{title}")
        with tempfile.TemporaryDirectory(
            prefix="flux-bench-", ignore_cleanup_errors=True
        ) as folder:
            are_as_expected.append(run_section(sizes, Path(folder)))
    is_good = all(are_as_expected)
    print("\nAll figures are as expected." if is_good else "\nSome figures are not as expected.")
    sys.exit(not is_good)


def _parse_arguments() -> argparse.Namespace:
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
    parser.add_argument("--no-airflow", action="store_true", help="leave out the mapped tasks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
