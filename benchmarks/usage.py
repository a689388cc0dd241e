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


class Machine:
    """What the whole machine is busy with while the block lasts.

    :ivar busy: CPU seconds of all processes.
    :ivar seconds: CPU seconds there were, of all cores.
    """

    busy = seconds = 0.0

    def __enter__(self) -> Machine:
        self._began = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.busy, self.seconds = (
            after - before for before, after in zip(self._began, self._now(), strict=True)
        )

    def others(self, known: float) -> float:
        """Return the share of the machine, 0 to 1, that other processes had than those whose CPU seconds are known."""
        return max(self.busy - known, 0.0) / self.seconds if self.seconds else 0.0

    def _now(self) -> tuple[float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        return sum(times) - idle - getattr(times, "guest", 0.0), sum(times)
