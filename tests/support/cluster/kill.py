"""The points in the life of an image, and the ways to end a process of a cluster at one of them.

Each process is ended by its own id.
"""

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


#: The life of an image, in order. At ``AFTER_...``, the server has the request, and its client has
#: no answer yet.
AFTER_INTENT = _recorded("intent")
BEFORE_POST = Checkpoint("received", "POST", r"^/v1/flux")
AFTER_POST = Checkpoint("answered", "POST", r"^/v1/flux")
AFTER_RECORD = _recorded("submitted")
FIRST_POLL = Checkpoint("received", "GET", r"^/v1/get_result")
SECOND_POLL = Checkpoint("received", "GET", r"^/v1/get_result", number=2)
AT_READY = Checkpoint("answered", "GET", r"^/v1/get_result", answer='"Ready"')
HALF_DOWNLOAD = Checkpoint("half answered", "GET", r"^/results/")
HALF_PUT = Checkpoint("half sent", "PUT", _IMAGE)
AFTER_PUT = Checkpoint("answered", "PUT", _IMAGE)
AFTER_PERSISTED = _recorded("persisted")
AFTER_RETURNED = _recorded("returned")


def is_of_bfl(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is on the way to BFL, and not to the object store."""
    return checkpoint.path.startswith(("^/v1/", "^/results/"))


def kill_runner(pid: int) -> NoReturn:
    """Kill the process of a task, as the kernel does when memory runs out.

    Its supervisor survives and reports the kill.
    """
    psutil.Process(pid).kill()
    raise Cut


def lose_worker(pid: int) -> NoReturn:
    """Kill the process of a task and the worker that supervises it, as when a machine is lost.

    The worker is a process of the LocalExecutor, which forks another one when it needs it. Nobody
    reports the kill; the scheduler notices the missing heartbeats.
    """
    runner = psutil.Process(pid)
    worker = _worker_of(runner)
    worker.kill()  # first, so that it has nothing to report
    assert wait_until(lambda: not is_alive(worker), 30)  # it is a zombie until the scheduler looks
    runner.kill()
    raise Cut


def terminate_runner(pid: int) -> None:
    """Send SIGTERM to the process of a task, without dropping its request."""
    psutil.Process(pid).terminate()


def terminate_worker(pid: int) -> None:
    """Send SIGTERM to the worker that supervises a task."""
    _worker_of(psutil.Process(pid)).terminate()


def kill_triggerer(cluster: Cluster) -> Callable[[int], NoReturn]:
    """Return a function that kills all processes of the triggerer that a process belongs to.

    The function does not use the :class:`Component`: it runs beside the test, which starts the
    component again.
    """

    def kill(pid: int) -> NoReturn:
        process = psutil.Process(pid)
        leaders = {triggerer.pid for triggerer in cluster.triggerers}
        family = (process, *process.parents())
        leader = next(member for member in family if member.pid in leaders)
        for member in (leader, *leader.children(recursive=True)):
            member.kill()
        raise Cut

    return kill


def signal_family(component: Component, sig: signal.Signals) -> None:
    """Send a signal to all processes of a component, the leader first.

    Not all of them are in its process group.
    """
    for process in sorted(component.family(), key=lambda process: process.pid != component.pid):
        process.send_signal(sig)


def restart_ended(cluster: Cluster) -> None:
    """Restart the components that have ended, as systemd and Kubernetes do.

    Processes that they left behind are killed first.
    """
    for component in cluster.components:
        if not component.running:
            component.restart()


def _worker_of(runner: psutil.Process) -> psutil.Process:
    worker = runner.parent()
    assert worker is not None, f"process {runner.pid} has no parent"
    title = " ".join(worker.cmdline())
    assert "LocalExecutor" in title, title
    return worker
