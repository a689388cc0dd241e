"""CPU and memory of processes and of the machine."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def own_cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def own_peak() -> float:
    """Return the peak memory of this process in MiB.

    ``ru_maxrss`` is not used, because it starts at the peak of the parent process.
    """
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return int(peak[1]) / 1024


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU seconds of living processes and of their children that have ended."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_of(processes: Iterable[psutil.Process]) -> float:
    """Return the memory of processes in MiB, with shared pages counted once (PSS)."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20


class MachineUsage:
    """CPU time of the whole machine while the block lasts.

    :ivar busy_seconds: CPU seconds of all processes.
    :ivar total_seconds: CPU seconds of all cores, busy or idle.
    """

    busy_seconds = total_seconds = 0.0

    def __enter__(self) -> MachineUsage:
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self.busy_seconds, self.total_seconds = (
            after - before for before, after in zip(self._before, self._read(), strict=True)
        )

    def share_of_others(self, known_seconds: float) -> float:
        """Return the share of the machine, 0 to 1, that other processes used.

        :param known_seconds: CPU seconds of the processes that do not count as others.
        """
        if not self.total_seconds:
            return 0.0
        return max(self.busy_seconds - known_seconds, 0.0) / self.total_seconds

    def _read(self) -> tuple[float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        return sum(times) - idle - getattr(times, "guest", 0.0), sum(times)
