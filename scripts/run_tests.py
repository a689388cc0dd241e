"""Run all tests: the tests that need a whole Airflow, and at the same time all others.

Each half is a pytest process. The half without clusters measures the coverage, because the
processes in a cluster are not measured. Further arguments go to both halves. The exit code is 0 if
both pass.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO

CLUSTER = ("-m", "cluster")
OTHERS = ("-m", "not cluster", "--cov", "--cov-report=term")
#: The half without clusters yields the CPU, because the tests in a cluster wait with deadlines.
_NICE = 5
#: Exit code of pytest if it has collected no test.
_NO_TESTS = 5


def main(arguments: Sequence[str]) -> int:
    """Run both halves. The cluster tests print at once, the others when both have ended.

    :param arguments: further arguments of pytest.
    :return: the exit code.
    """
    # Stop both halves if this process is terminated.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        halves: list[subprocess.Popen[str]] = []
        try:
            halves.append(_start(CLUSTER, arguments, None))
            halves.append(_start(OTHERS, arguments, output, nice=_NICE))
            codes = [half.wait() for half in halves]
        finally:
            for half in halves:
                if half.poll() is None:
                    half.send_signal(signal.SIGINT)
                    half.wait()
            output.seek(0)
            sys.stdout.writelines(output)
    return max(0 if code == _NO_TESTS else abs(code) for code in codes)


def _start(
    half: Sequence[str], arguments: Sequence[str], output: IO[str] | None, *, nice: int = 0
) -> subprocess.Popen[str]:
    command = ["nice", f"-n{nice}", sys.executable, "-m", "pytest", *half, *arguments]
    return subprocess.Popen(
        command, text=True, stdout=output, stderr=subprocess.STDOUT if output else None
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
