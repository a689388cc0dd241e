"""Run all tests: the tests that need a whole Airflow, and at the same time all others.

The others run in two pytest processes, because many of them wait. They measure the coverage,
because the processes in a cluster are not measured. Further arguments go to every process. The
exit code is 0 if all of them pass and the coverage suffices.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ("-m", "cluster")
OTHERS = ("-m", "not cluster", "--cov", "--cov-report=", "--cov-fail-under=0")
#: Folders of tests that take about half of the time of those without a cluster.
FIRST_FOLDERS = ("batch", "client", "landing", "ledger", "media", "object_store")
#: The tests without clusters yield the CPU, because the tests in a cluster wait with deadlines.
_NICE = 5
#: Exit code of pytest if it has collected no test.
_NO_TESTS = 5


def main(arguments: Sequence[str]) -> int:
    """Run all tests. The cluster tests print at once, the others when all have ended.

    :param arguments: further arguments of pytest.
    :return: the exit code.
    """
    # Stop all processes if this one is terminated.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    first, second = _split_tests()
    with ExitStack() as stack:
        outputs = [
            stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            for _ in range(2)
        ]
        processes: list[subprocess.Popen[str]] = []
        try:
            processes.append(_start([*CLUSTER, *arguments]))
            for number, paths in enumerate((first, second)):
                command = [*OTHERS, *paths, *arguments]
                processes.append(_start(command, outputs[number], f".coverage.{number}"))
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.wait()
            for output in outputs:
                output.seek(0)
                sys.stdout.writelines(output)
    codes = [0 if code == _NO_TESTS else abs(code) for code in codes]
    return max(*codes, _report_coverage())


def _split_tests() -> tuple[list[str], list[str]]:
    """Return the paths of the tests for the first and for the second process."""
    tests = ROOT / "tests"
    names = sorted({path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py")})
    second = [name for name in names if name not in FIRST_FOLDERS]
    return [f"tests/{name}" for name in FIRST_FOLDERS], [f"tests/{name}" for name in second]


def _start(
    arguments: Sequence[str], output: IO[str] | None = None, coverage_file: str = ""
) -> subprocess.Popen[str]:
    nice = ("nice", f"-n{_NICE}") if output else ()
    return subprocess.Popen(
        [*nice, sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": coverage_file} if coverage_file else None,
        text=True,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )


def _report_coverage() -> int:
    """Print the coverage of both processes together, and return the exit code of the report."""
    coverage = (sys.executable, "-m", "coverage")
    subprocess.run([*coverage, "combine", "--quiet", ".coverage.0", ".coverage.1"], cwd=ROOT)
    return subprocess.run([*coverage, "report"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
