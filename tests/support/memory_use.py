"""Run a function in a fresh process, and measure its memory and its time."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: Most memory that a worker may need for hostile input of 1 MB.
MAX_GROWTH_MIB = 100


@dataclass(frozen=True)
class Measured:
    """The run of a function.

    :param outcome: what it returned, or the name of the exception and its text.
    :param grown_mib: growth of the resident memory, at its peak.
    :param seconds: its duration.
    """

    outcome: Any
    grown_mib: float
    seconds: float


def measure(function: Callable[..., Any], *args: Any) -> Measured:
    """Run a function in a fresh process, and measure it there.

    :param function: a function of a module, because its process imports it.
    :param args: its arguments.
    """
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("Linux only: the peak of the memory is read from /proc")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run_measured, function, *args).result()


def run_measured(function: Callable[..., Any], *args: Any) -> Measured:
    """Run a function in this process, and measure it.

    :param function: the function.
    :param args: its arguments.
    """
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, begin = _status("VmRSS"), time.monotonic()
    try:
        outcome = function(*args)
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - begin
    return Measured(outcome, (_status("VmHWM") - before) / 1024, seconds)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
