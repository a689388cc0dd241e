"""Run all tests: the tests that need a whole Airflow, and at the same time all others.

Tests of clusters run a file at a time in each of two pytest processes, the others in two more,
because many of them wait. Further arguments go to every process. The exit code is 0 if all of them
pass. Coverage has a run of its own, ``make coverage``: it takes a third more CPU time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ("-m", "cluster")
#: Files of tests of clusters that take longest, so they begin first.
LONG_CLUSTER_FILES = ("test_executors.py", "test_review.py", "test_kill_worker.py")
OTHERS = ("-m", "not cluster")
#: Folders of tests that take about half of the time of those without a cluster.
FIRST_FOLDERS = (
    "batch",
    "cli",
    "client",
    "landing",
    "ledger",
    "media",
    "object_store",
    "recovery",
)
#: Files of cluster tests at a time. Each mostly waits for deadlines of its Airflow.
_CLUSTERS = 2
_PRINTING = threading.Lock()
#: Exit code of pytest if it has collected no test.
_NO_TESTS = 5


def main(arguments: Sequence[str]) -> int:
    """Run all tests. A file of cluster tests prints when it ends, the others when all have ended.

    :param arguments: further arguments of pytest.
    :return: the exit code.
    """
    # Stop all processes if this one is terminated.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    halves = _split_tests()
    with ExitStack() as stack:
        outputs = [stack.enter_context(_new_output()) for _ in halves]
        processes: list[subprocess.Popen[str]] = []
        clusters = stack.enter_context(ThreadPoolExecutor(_CLUSTERS))
        try:
            for paths, output in zip(halves, outputs, strict=True):
                processes.append(_start([*OTHERS, *paths, *arguments], output))
            runs = [
                clusters.submit(_run_cluster_file, path, arguments, processes)
                for path in _cluster_files()
            ]
            codes = [run.result() for run in runs]
            codes += [process.wait() for process in processes]
        finally:
            clusters.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.wait()
            for output in outputs:
                _print(output)
    return max(0 if code == _NO_TESTS else abs(code) for code in codes)


def _run_cluster_file(
    path: str, arguments: Sequence[str], processes: list[subprocess.Popen[str]]
) -> int:
    """Run a file of cluster tests, print its output, and return its exit code."""
    with _new_output() as output:
        process = _start([*CLUSTER, path, *arguments], output)
        processes.append(process)
        code = process.wait()
        _print(output)
    return code


def _cluster_files() -> list[str]:
    """Return the paths of the tests of clusters, in the order in which they begin."""
    folder = ROOT / "tests" / "cluster"
    names = sorted(path.name for path in folder.glob("test_*.py"))
    names.sort(key=lambda name: name not in LONG_CLUSTER_FILES)
    return [f"tests/cluster/{name}" for name in names]


def _split_tests() -> tuple[list[str], list[str]]:
    """Return the paths of the tests for the first and for the second process."""
    tests = ROOT / "tests"
    names = {path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py")}
    second = sorted(names - {*FIRST_FOLDERS, "cluster"})
    return [f"tests/{name}" for name in FIRST_FOLDERS], [f"tests/{name}" for name in second]


def _new_output() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def _print(output: IO[str]) -> None:
    with _PRINTING:
        output.seek(0)
        sys.stdout.writelines(output)
        sys.stdout.flush()


def _start(arguments: Sequence[str], output: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        text=True,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
