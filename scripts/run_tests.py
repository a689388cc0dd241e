"""Run all tests once: those that need a whole Airflow, and beside them all others, which is what their waits are for.

Each half is a pytest of its own. The one without clusters measures the coverage: what runs in a cluster are processes
that are not measured. Further arguments go to both. The exit code is 0 if both have passed.
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
#: The half without clusters gives way: what people wait for in a cluster, they wait for with a deadline.
_NICE = 5
#: pytest has run no test: nothing of that half was asked for.
_NO_TESTS = 5


def main(arguments: Sequence[str]) -> int:
    """Run both halves, show the one as it goes and the other after it, and return the exit code."""
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that neither half outlives this process
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as kept:
        halves: list[subprocess.Popen[str]] = []
        try:
            halves.append(_start(CLUSTER, arguments, None))
            halves.append(_start(OTHERS, arguments, kept, nice=_NICE))
            codes = [half.wait() for half in halves]
        finally:
            for half in halves:
                if half.poll() is None:
                    half.send_signal(signal.SIGINT)
                    half.wait()
            kept.seek(0)
            sys.stdout.writelines(kept)
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
