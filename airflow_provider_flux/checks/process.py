"""Start the process of the checks, and prove before a batch submits that it can be started.

It is a new interpreter, not a fork: a fork of a process with threads may hang, and a new process
of :mod:`multiprocessing` imports the main module of Airflow, and may not be started by a worker
that is itself a daemon.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.checks.frames import encode_frame, read_frame

#: Seconds in which a process has to import the functions of the checks.
START_SECONDS = 120.0
#: Beginnings of names of variables that hold connections and keys, which no check needs.
_SECRET_PREFIXES = ("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__", "_AIRFLOW__", "BFL_")


def command() -> list[str]:
    """Return the command line of the process."""
    # -P: the working folder holds no modules, unless the path of this process names it.
    return [sys.executable, "-P", "-m", "airflow_provider_flux.checks.worker"]


def environment() -> dict[str, str]:
    """Return the environment of the process: the modules of this one, and no secret of Airflow."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)
    }
    path = [os.path.abspath(entry) for entry in sys.path]
    # One process of OCR uses one core.
    return {**variables, "PYTHONPATH": os.pathsep.join(path), "OMP_THREAD_LIMIT": "1"}


def start_message(checks: tuple[Check, ...], timeout: float) -> bytes:
    """Return the first message to the process.

    :param checks: the checks.
    :param timeout: seconds that each check has.
    """
    return encode_frame({"checks": [check.as_dict() for check in checks], "timeout": timeout})


def kill_group(pid: int) -> None:
    """End a process and all processes that it started.

    :param pid: id of the process, which leads a group of its own.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def prove_checks(checks: tuple[Check, ...]) -> None:
    """Check that a process can import the functions of all checks, before anything is paid.

    :param checks: the checks.
    :raises FluxConfigurationError: naming the check that cannot be imported, and why.
    """
    if not checks:
        return
    process = subprocess.Popen(  # noqa: S603 - the interpreter of this process
        command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    try:
        # Closing its input ends it, so its answer is read as a whole.
        output, _ = process.communicate(start_message(checks, START_SECONDS), START_SECONDS)
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        process.wait()
        raise FluxConfigurationError(
            f"The functions of checks were not imported in {START_SECONDS:g} s. Nothing was "
            "submitted."
        ) from None
    answer = _first_answer(output)
    problem = "The process of the checks ended." if answer is None else answer["problem"]
    if problem:
        raise FluxConfigurationError(f"{problem} Nothing was submitted.")


def _first_answer(output: bytes) -> dict[str, Any] | None:
    offset = 0

    def read(size: int) -> bytes:
        nonlocal offset
        part = output[offset : offset + size]
        offset += size
        return part

    try:
        return read_frame(read)
    except ValueError:
        return None
