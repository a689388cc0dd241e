"""Run all tests: the tests that need a whole Airflow, and at the same time all others.

Two pytest processes begin with the clusters, and two have others only, because many tests wait.
Further arguments go to every process. The exit code is 0 if all of them pass. Coverage has a run of
its own, ``make coverage``, because it takes a third more CPU time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Files of tests of clusters that take about half of their time. Those of a process share the
#: bytecode and the migrated database.
FIRST_CLUSTERS = (
    "test_executors.py",
    "test_first_light.py",
    "test_harness.py",
    "test_review.py",
    "test_webhooks.py",
)
#: Folders whose tests follow those of the first and of the second clusters, which end sooner.
AFTER_FIRST_CLUSTERS = ("account", "accounting", "triggers", "typing")
AFTER_SECOND_CLUSTERS = ("browser", "recovery", "testing")
#: Folders of tests that take about half of the time of the others without a cluster.
FIRST_FOLDERS = (
    "batch",
    "client",
    "landing",
    "ledger",
    "media",
    "object_store",
    "operators",
)
#: Exit code of pytest if it has collected no test.
_NO_TESTS = 5


def main(arguments: Sequence[str]) -> int:
    """Run all tests. The first of its processes prints at once, the others at the end.

    :param arguments: further arguments of pytest.
    :return: the exit code.
    """
    # Stop all processes if this one is terminated.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        outputs = []
        try:
            for number, paths in enumerate([*_split_clusters(), *_split_others()]):
                output = None
                if number:
                    output = stack.enter_context(
                        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
                    )
                    outputs.append(output)
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "pytest", *paths, *arguments],
                        cwd=ROOT,
                        text=True,
                        stdout=output,
                        stderr=subprocess.STDOUT if output else None,
                    )
                )
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.wait()
            for output in outputs:
                output.seek(0)
                sys.stdout.writelines(output)
    return max(0 if code == _NO_TESTS else abs(code) for code in codes)


def _split_clusters() -> tuple[list[str], list[str]]:
    """Return the paths of the tests of the first and of the second process."""
    names = sorted(path.name for path in (ROOT / "tests" / "cluster").glob("test_*.py"))
    second = [name for name in names if name not in FIRST_CLUSTERS]
    first, others = (
        [f"tests/cluster/{name}" for name in half] for half in (FIRST_CLUSTERS, second)
    )
    return first + _folders(AFTER_FIRST_CLUSTERS), others + _folders(AFTER_SECOND_CLUSTERS)


def _split_others() -> tuple[list[str], list[str]]:
    """Return the paths of all other tests for the third and for the fourth process."""
    tests = ROOT / "tests"
    names = {path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py")}
    names -= {"cluster", *AFTER_FIRST_CLUSTERS, *AFTER_SECOND_CLUSTERS, *FIRST_FOLDERS}
    return _folders(FIRST_FOLDERS), _folders(sorted(names))


def _folders(names: Iterable[str]) -> list[str]:
    return [f"tests/{name}" for name in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
