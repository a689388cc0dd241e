"""Run one step of a make target: say what it does and how long it usually takes, and show progress.

``python scripts/run_step.py 1/3 "Install Airflow" "1 to 4 minutes" pip install apache-airflow``
prints the step, every ten seconds the elapsed time with the last line of the command, and all
output of the command if it fails. It runs before anything is installed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

#: Seconds between two lines about a command that is still running.
HEARTBEAT_SECONDS = 10.0
_MAX_LINE = 80


class StepError(Exception):
    """The command of a step failed. The message is its output."""


def run_step(
    number: str,
    title: str,
    usual: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    heartbeat: float = HEARTBEAT_SECONDS,
) -> None:
    """Run a command, and print what it does, how long it usually takes, and that it goes on.

    :param number: number of the step and of all steps, for example ``1/3``.
    :param title: what the step does.
    :param usual: how long it usually takes, for example ``1 to 4 minutes``.
    :param command: the command.
    :param env: environment of the command; ``None`` is that of this process.
    :param on_line: called with each line of the output.
    :param heartbeat: seconds between two lines about the progress.
    :raises StepError: if the command fails.
    """
    _print(f"[{number}] {title}. This usually takes {usual}.")
    started, lines, ended = time.monotonic(), list[str](), threading.Event()
    last_line = "started"

    def show_progress() -> None:
        while not ended.wait(heartbeat):
            _print(f"      {time.monotonic() - started:.0f} s: {last_line}")

    threading.Thread(target=show_progress, daemon=True).start()
    try:
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                if not line.startswith("WARNING"):
                    last_line = line.strip()[:_MAX_LINE]
                if on_line:
                    on_line(line)
    finally:
        ended.set()
    if process.returncode:
        raise StepError("".join(lines))
    _print(f"      done in {time.monotonic() - started:.0f} s")


def _print(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run one step, and return its exit code.

    :param arguments: number, title, usual time, and the command.
    """
    number, title, usual, *command = arguments
    try:
        run_step(number, title, usual, command)
    except StepError as error:
        _print(f"{error}\n[{number}] {title}: the command failed. Its output is above.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
