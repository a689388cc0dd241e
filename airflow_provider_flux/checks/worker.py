"""The process that carries out checks: ``python -m airflow_provider_flux.checks.worker``.

It reads images from its input and writes answers to its output. It ends, with all processes that
its checks started, as soon as its input is closed, even while a check hangs.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.checks.frames import encode_frame, read_frame
from airflow_provider_flux.checks.run_check import (
    CheckFunction,
    CheckImportError,
    load_functions,
    run_check,
)

#: Bytes of memory that a process may have for data.
MAX_MEMORY = 4 * 1024**3
#: Seconds after the time limit of a check in which the batch has to end this process.
_EXTRA_SECONDS = 5.0


def main() -> None:
    """Import the functions of the checks, then check images until the input is closed."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    # What a check prints belongs into the log, not between the answers.
    os.dup2(2, 1)
    _limit_resources()
    start = read_frame(incoming.read)
    if start is None:
        return
    checks = tuple(map(Check.from_dict, start["checks"]))
    try:
        functions = load_functions(checks)
    except CheckImportError as error:
        _send(outgoing, {"problem": str(error)})
        return
    _send(outgoing, {"problem": None})
    images: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    threading.Thread(target=_read_images, args=(incoming, images), daemon=True).start()
    while True:
        message, data = images.get()
        _check_image(outgoing, checks, functions, message["row"], data, start["timeout"])


def _check_image(
    outgoing: BinaryIO,
    checks: tuple[Check, ...],
    functions: dict[str, CheckFunction],
    row: dict[str, Any],
    data: bytes,
    timeout: float,
) -> None:
    """Carry out the checks in their order, up to the first that does not pass."""
    for check in checks:
        # It ends this process even if the batch cannot, because it was killed itself.
        signal.setitimer(signal.ITIMER_REAL, timeout + _EXTRA_SECONDS)
        answer = run_check(check, data, row, functions)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(outgoing, asdict(answer))
        if answer.reason is not None or answer.fault is not None:
            return


def _read_images(
    incoming: BinaryIO, images: queue.SimpleQueue[tuple[dict[str, Any], bytes]]
) -> None:
    while (message := read_frame(incoming.read)) is not None:
        images.put((message, incoming.read(message["bytes"])))
    os.killpg(0, signal.SIGKILL)


def _send(outgoing: BinaryIO, message: dict[str, Any]) -> None:
    outgoing.write(encode_frame(message))
    outgoing.flush()


def _limit_resources() -> None:
    """Limit the memory, and let the kernel end this process first if the machine has too little."""
    with suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    main()
