"""Ending processes of a cluster, each by its own id, at the moment when they are asking a server for something."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NoReturn

import psutil

from tests.support.checkpoint_proxy import Checkpoint
from tests.support.cluster.harness import Cluster
from tests.support.cluster.processes import Component, is_alive, wait_until
from tests.support.cutting_proxy import Cut

_RECORD, _IMAGE = r"/_flux/ledger/.*\.json$", r"/out/(?!_flux/).*\.jpeg$"


def _recorded(phase: str) -> Checkpoint:
    return Checkpoint("answered", "PUT", _RECORD, body=rf'"phase": ?"{phase}"')


#: The life of an image, in order. What is written down, the store has; its client does not know yet.
AFTER_INTENT = _recorded("intent")
BEFORE_POST = Checkpoint("asked", "POST", r"^/v1/flux")
AFTER_POST = Checkpoint("answered", "POST", r"^/v1/flux")
AFTER_RECORD = _recorded("submitted")
FIRST_POLL = Checkpoint("asked", "GET", r"^/v1/get_result")
SECOND_POLL = Checkpoint("asked", "GET", r"^/v1/get_result", number=2)
AT_READY = Checkpoint("answered", "GET", r"^/v1/get_result", answer='"Ready"')
HALF_DOWNLOAD = Checkpoint("half answered", "GET", r"^/results/")
HALF_PUT = Checkpoint("half sent", "PUT", _IMAGE)
AFTER_PUT = Checkpoint("answered", "PUT", _IMAGE)
AFTER_PERSISTED = _recorded("persisted")
AFTER_RETURNED = _recorded("returned")


def is_of_bfl(checkpoint: Checkpoint) -> bool:
    """Whether it is BFL that is asked, and not the object store."""
    return checkpoint.path.startswith(("^/v1/", "^/results/"))


def kill_runner(pid: int) -> NoReturn:
    """SIGKILL the process of a task alone, as the kernel does when memory runs out: its supervisor reports that."""
    psutil.Process(pid).kill()
    raise Cut


def lose_worker(pid: int) -> NoReturn:
    """SIGKILL the process of a task and the worker that supervises it, as when a machine is lost: nobody reports it.

    The worker is a process of the LocalExecutor, which forks another one when it needs it. That the task is gone, the
    scheduler tells by the heartbeats that do not come any more.
    """
    runner = psutil.Process(pid)
    worker = _worker_of(runner)
    worker.kill()  # first, so that it has nothing to report
    assert wait_until(lambda: not is_alive(worker), 30)  # it is a zombie until the scheduler looks
    runner.kill()
    raise Cut


def terminate_runner(pid: int) -> None:
    """SIGTERM the process of a task; its request goes on, and so does it, if it likes."""
    psutil.Process(pid).terminate()


def terminate_worker(pid: int) -> None:
    """SIGTERM the worker that supervises a task."""
    _worker_of(psutil.Process(pid)).terminate()


def kill_triggerer(cluster: Cluster) -> Callable[[int], NoReturn]:
    """Return what SIGKILLs all processes of the triggerer to which one belongs.

    It touches nothing of the :class:`Component`, for it runs beside the test, which will start that again.
    """

    def kill(pid: int) -> NoReturn:
        process = psutil.Process(pid)
        leaders = {triggerer.pid for triggerer in cluster.triggerers}
        leader = next(one for one in (process, *process.parents()) if one.pid in leaders)
        for one in (leader, *leader.children(recursive=True)):
            one.kill()
        raise Cut

    return kill


def signal_family(component: Component, sig: signal.Signals) -> None:
    """Send a signal to all processes of a component, the leader first; not all of them are in its process group."""
    for process in sorted(component.family(), key=lambda process: process.pid != component.pid):
        process.send_signal(sig)


def revive(cluster: Cluster) -> None:
    """Start what has ended again, as systemd and Kubernetes do; what it has left behind is killed first."""
    for component in cluster.components:
        if not component.running:
            component.restart()


def _worker_of(runner: psutil.Process) -> psutil.Process:
    worker = runner.parent()
    assert worker is not None, f"process {runner.pid} has no parent"
    title = " ".join(worker.cmdline())
    assert "LocalExecutor" in title, title
    return worker
