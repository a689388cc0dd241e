"""Processes of the test cluster: started in a session of their own, ended to the last descendant."""

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

# Linux hands out 32768 and up for outgoing connections: a client that polls a not yet opened port there
# may be given that very port and connect to itself.
PORT_RANGE = range(10_000, 32_768)
POLL_SECONDS = 0.1
KILL_SECONDS = 30
MARKER = "TEST_CLUSTER_COMPONENT"

_given_ports: set[int] = set()


def free_port() -> int:
    """Return a TCP port nobody listens on and this process has not been given before."""
    while True:
        port = random.choice(PORT_RANGE)
        if port not in _given_ports and _can_listen(port):
            _given_ports.add(port)
            return port


def _can_listen(port: int) -> bool:
    try:
        socket.create_server(("", port)).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until the condition holds; False when it did not within the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def last_lines(path: Path, lines: int) -> str:
    """Return the last lines of a text file, or an empty text when there is no such file."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=lines))


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, from ``timeout`` or a CI job, raise KeyboardInterrupt: fixtures are then torn down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Component:
    """One long-running program of the cluster, leader of its own session and process group."""

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
        """``ready`` is asked with the time of the last start, so that it cannot mistake an older life."""
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
        """Start the program; its output is appended to the log. Orphans of an earlier life live on."""
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
        """Block until the component does its work; raise with the end of its log if it never does."""
        if not wait_until(lambda: not self.running or self._ready(self._started_at), timeout):
            raise TimeoutError(
                f"{self.name} not ready after {timeout} s:\n{last_lines(self.log, 40)}"
            )
        if not self.running:
            raise RuntimeError(f"{self.name} ended while starting:\n{last_lines(self.log, 40)}")

    def family(self) -> set[psutil.Process]:
        """Return all living processes of the component: descendants, their own sessions, orphans.

        A supervised task has its own process group, a PostgreSQL backend its own session, and a process
        whose parent was killed belongs to init. Hence three tests (session, marker in the environment,
        parenthood) and a memory of what earlier calls have seen.
        """
        self._family.update(process for process in psutil.process_iter() if self._owns(process))
        for process in list(self._family):
            with suppress(psutil.NoSuchProcess):
                self._family.update(process.children(recursive=True))
        self._family = {process for process in self._family if is_alive(process)}
        if not self.running and not self._family:
            # From now on the id may be given to a stranger.
            self._session = None
        return set(self._family)

    def signal(self, sig: signal.Signals, *, group: bool = True) -> None:
        """Send a signal to the whole process group, or to its leader only.

        Supervised tasks are in groups of their own: of the methods here only ``kill`` reaches them all.
        """
        if self.family():
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL the whole family, as a crash of its machine would; return when it is gone."""

        def gone() -> bool:
            # Again and again, as one of them may have forked since the last look.
            family = self.family()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return not family

        if not wait_until(gone, KILL_SECONDS):
            raise RuntimeError(f"{self.name}: cannot kill {self.family()}")

    def request_stop(self) -> None:
        """Ask a running component to stop, without waiting for it."""
        if self.running:
            self.signal(self._stop_signal)

    def ensure_stopped(self, grace: float) -> None:
        """Wait for the leader to end, and kill what is left of the family then or after the grace."""
        wait_until(lambda: not self.running, grace)
        self.kill()

    def stop(self, grace: float = 15) -> None:
        """Stop the component: politely, then by force. Nothing of it is left on return."""
        self.request_stop()
        self.ensure_stopped(grace)

    def restart(self) -> None:
        """Stop what is left of the component, start it again and wait until it is ready."""
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
