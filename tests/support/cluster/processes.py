"""Processes of the test cluster: each starts in its own session and ends with all descendants."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil

# Linux uses ports from 32768 for outgoing connections. A client that polls a port there before it
# is opened may get that port itself, and connect to itself.
PORT_RANGE = range(10_000, 32_768)
POLL_SECONDS = 0.1
KILL_SECONDS = 30
MARKER = "TEST_CLUSTER_COMPONENT"

_used_ports: set[int] = set()


def free_port() -> int:
    """Return a TCP port that is free and that this process has not used before."""
    while True:
        port = random.choice(PORT_RANGE)
        if port not in _used_ports and _can_listen(port):
            _used_ports.add(port)
            return port


def _can_listen(port: int) -> bool:
    try:
        socket.create_server(("", port)).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until the condition holds; return False if it did not within the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def last_lines(path: Path, lines: int) -> str:
    """Return the last lines of a text file, or an empty text if there is no such file."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=lines))


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, from ``timeout`` or a CI job, raise KeyboardInterrupt to tear down fixtures."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Component:
    """One long-running program of the cluster, which leads its own session and process group."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        ready: Callable[[datetime], bool],
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Prepare the component.

        ``ready`` takes the time of the last start, so that it does not mistake an earlier run.
        """
        self.name = name
        self.argv = list(argv)
        self.log = log
        self.user: str | None = None
        self._marker = f"{name}-{uuid4().hex}"
        self._env = {**env, MARKER: self._marker}
        self._cwd = cwd
        self._ready = ready
        self._stop_signal = stop_signal
        self._started_at = datetime.now(UTC)
        self._process: subprocess.Popen[bytes] | None = None
        self._session: int | None = None
        self._family: set[psutil.Process] = set()

    @property
    def pid(self) -> int:
        """Process id of the leader, which is also the id of its group and session."""
        if self._process is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the leader is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program and append its output to the log. Orphans of an earlier run survive."""
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        self.family()
        self._started_at = datetime.now(UTC)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user,
            )
        self._session = self._process.pid

    def wait_ready(self, timeout: float = 90) -> None:
        """Block until the component works.

        :raises TimeoutError: with the end of the log if it does not within the timeout.
        :raises RuntimeError: with the end of the log if it ends before.
        """
        if not wait_until(lambda: not self.running or self._ready(self._started_at), timeout):
            raise TimeoutError(
                f"{self.name} not ready after {timeout} s:\n{last_lines(self.log, 40)}"
            )
        if not self.running:
            raise RuntimeError(f"{self.name} ended while starting:\n{last_lines(self.log, 40)}")

    def family(self) -> set[psutil.Process]:
        """Return all living processes of the component: descendants, their own sessions, orphans.

        A supervised task has its own process group, a PostgreSQL backend its own session, and a
        process whose parent was killed belongs to init. For this reason there are three tests
        (session, marker in the environment, parent), and earlier findings are kept.
        """
        self._family.update(process for process in psutil.process_iter() if self._owns(process))
        for process in list(self._family):
            with suppress(psutil.NoSuchProcess):
                self._family.update(process.children(recursive=True))
        self._family = {process for process in self._family if is_alive(process)}
        if not self.running and not self._family:
            # From now on the system may reuse the id.
            self._session = None
        return set(self._family)

    def signal(self, sig: signal.Signals, *, group: bool = True) -> None:
        """Send a signal to the whole process group, or to its leader only.

        Supervised tasks have groups of their own. Only ``kill`` reaches all of them.
        """
        if self.family():
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.pid, sig)

    def kill(self) -> None:
        """Kill the whole family, as a crash of its machine would, and wait until it is gone."""

        def is_gone() -> bool:
            # Each poll looks anew, since a process may have forked meanwhile.
            family = self.family()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return not family

        if not wait_until(is_gone, KILL_SECONDS):
            raise RuntimeError(f"{self.name}: cannot kill {self.family()}")

    def request_stop(self) -> None:
        """Ask a running component to stop, without waiting for it."""
        if self.running:
            self.signal(self._stop_signal)

    def ensure_stopped(self, grace: float) -> None:
        """Wait for the leader to end, at most for the grace, and kill the rest of the family."""
        wait_until(lambda: not self.running, grace)
        self.kill()

    def stop(self, grace: float = 15) -> None:
        """Stop the component with its stop signal, and kill what is left after the grace."""
        self.request_stop()
        self.ensure_stopped(grace)

    def restart(self) -> None:
        """Stop the component, start it again and wait until it is ready."""
        self.stop()
        self.start()
        self.wait_ready()

    def _owns(self, process: psutil.Process) -> bool:
        try:
            in_session = os.getsid(process.pid) == self._session
            return in_session or process.environ().get(MARKER) == self._marker
        except (ProcessLookupError, psutil.Error):
            return False


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
