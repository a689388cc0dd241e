"""What processes use: CPU and memory."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def own_cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def own_peak() -> float:
    """Return the peak memory of this process in MiB; ``ru_maxrss`` would begin with that of its parent."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU seconds of living processes and of their children that have ended."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_of(processes: Iterable[psutil.Process]) -> float:
    """Return the memory of processes in MiB, what they share counted once (PSS)."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20
