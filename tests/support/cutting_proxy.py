"""A TCP proxy on loopback that breaks connections to an HTTP server as a test plans it."""

from __future__ import annotations

import math
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.cluster.processes import free_port

_PIECE = 64 * 1024
_POLL_SECONDS = 0.02
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Cut(Exception):  # noqa: N818
    """Raised by a planned action: the proxy resets both connections."""


@dataclass
class _Plan:
    passed: int | None
    act: Callable[[], object]
    times: int


class CuttingProxy:
    """A proxy before an HTTP server, which disturbs only large requests.

    The headers tell the size of a body; a chunked one counts as large. So the small requests of a
    client pass, whatever is planned.

    :param server: URL of the server.
    :param larger_than: bytes of a body above which a request is large.
    """

    def __init__(self, server: str, larger_than: int = 4096) -> None:
        address = urlsplit(server)
        self.server = (address.hostname or "127.0.0.1", address.port or 80)
        self.larger_than = larger_than
        #: Seconds that a large request waits before the proxy passes it.
        self.delay = 0.0
        #: Counts of connections, large requests, passed bytes of their bodies, and cuts.
        self.connections = self.large = self.passed = self.cuts = 0
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._acceptor: threading.Thread | None = None
        self._timer: threading.Timer | None = None

    def at(self, passed: int | None, act: Callable[[], object], times: int = 1) -> None:
        """Plan an action in the next large request.

        The proxy performs plans in their order, one in a request. A request that ends too early
        uses up no plan. To kill a client, let ``act`` kill it and then raise ``Cut``: the kernel
        still delivers what a dead process has handed to it, which is often everything.

        :param passed: bytes of the body that have passed at that point; ``None`` for the moment
            when the server has answered and the client has not received the answer.
        :param act: the action.
        :param times: in how many requests.
        """
        with self._lock:
            self._plans.append(_Plan(passed, act, times))

    def cut(self, passed: int | None, times: int = 1) -> None:
        """Plan to reset the connection at that point of the next large requests."""

        def act() -> None:
            raise Cut

        self.at(passed, act, times)

    def start(self) -> None:
        """Listen, always at the same address."""
        if not self._up.is_set():
            listener = socket.create_server(("127.0.0.1", self._port))
            # A new event: connections from before a stop must see that they have ended.
            self._up = threading.Event()
            self._up.set()
            self._acceptor = threading.Thread(
                target=self._accept, args=(listener, self._up), daemon=True
            )
            self._acceptor.start()

    def stop(self) -> None:
        """Refuse connections from now on, and reset those that are open."""
        self._up.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._acceptor is not None:
            self._acceptor.join()

    def down_for(self, seconds: float) -> None:
        """Stop now, and start again after some seconds."""
        self.stop()
        self._timer = threading.Timer(seconds, self.start)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def take(self, due: Callable[[int | None], bool]) -> _Plan | None:
        """Use the next plan once, if it is due."""
        with self._lock:
            if not self._plans or not due(self._plans[0].passed):
                return None
            plan = self._plans[0]
            plan.times -= 1
            if plan.times < 1:
                self._plans.pop(0)
            return plan

    def count(self, name: str, more: int = 1) -> None:
        """Add to one of the counters."""
        with self._lock:
            setattr(self, name, getattr(self, name) + more)

    def _accept(self, listener: socket.socket, up: threading.Event) -> None:
        with listener:
            while up.is_set():
                if select.select([listener], [], [], _POLL_SECONDS)[0]:
                    client, _ = listener.accept()
                    self.count("connections")
                    threading.Thread(target=self._serve, args=(client, up), daemon=True).start()

    def _serve(self, client: socket.socket, up: threading.Event) -> None:
        with client:
            try:
                with socket.create_connection(self.server) as server:
                    try:
                        _Link(self, client, server).run(up)
                    except (Cut, OSError):
                        _reset_when_closed(server)
                        raise
            except Cut:
                self.count("cuts")
                _reset_when_closed(client)
            except OSError:
                _reset_when_closed(client)


class _Link:
    """The connections to client and server. One thread serves both directions."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = b""  # of a request, as long as it is not complete
        self._left = 0.0  # of a body; infinite while chunks come
        self._passed = 0
        self._large = self._is_armed = False

    def run(self, up: threading.Event) -> None:
        """Pass data in both directions until one end closes."""
        while up.is_set():
            ready = select.select([self._client, self._server], [], [], _POLL_SECONDS)[0]
            if self._server in ready:
                data = self._server.recv(_PIECE)
                if not data:
                    return
                self._answered(data)
                self._client.sendall(data)
            elif self._client in ready:
                data = self._client.recv(_PIECE)
                if not data and (self._left or self._head):
                    # The test servers would take this for the end of the body, and store a part.
                    raise ConnectionResetError
                if not data:
                    return
                self._asked(data)
        raise ConnectionResetError

    def _answered(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 100"):  # "go on and send the body"
            return
        if self._left == math.inf:
            self._left = 0
        if self._is_armed and not self._left:
            self._is_armed = False
            if plan := self._proxy.take(lambda passed: passed is None):
                plan.act()

    def _asked(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            self._head = b""
            self._begin(head)
            self._server.sendall(head + blank)
        if self._is_armed:
            start, end = self._passed, self._passed + len(data)
            if plan := self._proxy.take(
                lambda passed: passed is not None and start <= passed <= end
            ):
                self._is_armed = False
                upto = (plan.passed or 0) - start
                self._send(data[:upto])
                data = data[upto:]
                plan.act()
        self._send(data)

    def _begin(self, head: bytes) -> None:
        length = _LENGTH.search(head)
        self._left = math.inf if _CHUNKED.search(head) else int(length[1]) if length else 0
        self._large = self._is_armed = self._left > self._proxy.larger_than
        self._passed = 0
        if self._large:
            self._proxy.count("large")
            time.sleep(self._proxy.delay)

    def _send(self, data: bytes) -> None:
        self._server.sendall(data)
        self._left -= len(data)
        self._passed += len(data)
        if self._large:
            self._proxy.count("passed", len(data))


def _reset_when_closed(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
