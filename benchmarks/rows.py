"""Time from the start of a batch with many rows to its first submit.

``python -m benchmarks.rows [N] [--tree FOLDER]...`` writes a file of N rows (100,000 by default),
and prints wall-clock and CPU seconds of the operator from its start to the first submit that the
emulator accepts. Then the process is ended. Imports do not count. All trees take turns; by default
the only tree is this one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.emulator import Emulator, run_emulator
from benchmarks.figures import check_at_most
from benchmarks.usage import cpu_of, own_cpu

ROOT = Path(__file__).parents[1]
_POLL_SECONDS = 0.1
_TIMEOUT_SECONDS = 600


def write_rows(file: Path, count: int) -> None:
    """Write a file with rows that differ in prompt and seed.

    :param file: the file.
    :param count: number of rows.
    """
    with file.open("w") as stream:
        for number in range(count):
            row = {"key": f"item-{number}", "prompt": f"a vase, number {number}", "seed": number}
            stream.write(json.dumps(row) + "\n")


def measure(tree: Path, emulator: Emulator, rows: Path) -> tuple[float, float]:
    """Return wall-clock and CPU seconds to the first submit.

    :param tree: folder of the source tree.
    :param emulator: emulator to submit to. It is reset before.
    :param rows: file of the rows.
    """
    emulator.reset()
    with tempfile.TemporaryDirectory(prefix="flux-bench-") as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "AIRFLOW_HOME": folder,
            "AIRFLOW_CONN_FLUX_DEFAULT": emulator.connection,
        }
        command = [sys.executable, str(Path(__file__)), "--run", str(rows), folder]
        log = Path(folder, "log").open("w")  # noqa: SIM115  closed below
        with (
            log,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=tree
            ) as process,
        ):
            try:
                return _wait_for_submit(emulator, process)
            finally:
                process.kill()


def _wait_for_submit(emulator: Emulator, process: subprocess.Popen[str]) -> tuple[float, float]:
    assert process.stdout is not None
    cpu_before, started_at = map(float, process.stdout.readline().split())
    child = psutil.Process(process.pid)
    while time.time() - started_at < _TIMEOUT_SECONDS:
        tasks = emulator.read("timeline")["tasks"]
        if tasks:
            first = min(task["submitted_at"] for task in tasks)
            return first - started_at, cpu_of([child]) - cpu_before
        time.sleep(_POLL_SECONDS)
    raise RuntimeError("nothing was submitted")


def run_batch(rows: str, folder: str) -> None:
    """Run a batch, after a first one that imports what all batches need.

    :param rows: file of the rows.
    :param folder: folder for the images.
    """
    from airflow_provider_flux.object_store.filesystem import open_path
    from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
    from benchmarks.run_batch import make_context

    open_path(f"file://{folder}")
    operator = FluxGenerateBatchOperator(
        task_id="batch",
        requests=f"file://{rows}",
        output_path=f"file://{folder}/images/{{key}}.{{ext}}",
        model="flux-pro-1.1",
        defaults={"width": 1024, "height": 1024},
    )
    print(own_cpu(), time.time(), flush=True)
    operator.execute(make_context("rows"))


def main() -> None:
    """Print the figures, and end with 1 if the first submit of this tree comes too late."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rows", description="Time to the first submit of many rows."
    )
    parser.add_argument("rows", type=int, nargs="?", default=100_000, help="number of rows")
    parser.add_argument("--tree", type=Path, action="append", help="source tree (default: this)")
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.tree or [ROOT]]
    with (
        run_emulator("--latency", "600", "--max-active", "24") as emulator,
        tempfile.TemporaryDirectory(prefix="flux-bench-") as folder,
    ):
        file = Path(folder, "rows.jsonl")
        write_rows(file, options.rows)
        for tree in trees:
            wall, cpu = measure(tree, emulator, file)
            each = 1e6 * cpu / options.rows
            print(f"{options.rows} rows, {tree}: {wall:.1f} s, {cpu:.1f} s CPU, {each:.0f} us each")
    is_fast = check_at_most(f"seconds to the first submit of {options.rows} rows", wall, 10, ".1f")
    sys.exit(not is_fast)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_batch(*sys.argv[2:4])
    else:
        main()
