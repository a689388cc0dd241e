"""A reverse proxy on loopback that stops a request at a named point, so that a process can be killed right there."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import psutil

from tests.support.cluster.processes import free_port
from tests.support.cutting_proxy import Cut

#: ``asked``: the request is here, and the server does not know of it. ``half sent``: the server has half of the body.
#: ``answered``: the server has answered, and the client does not know. ``half answered``: it has half of the answer.
Point = Literal["asked", "half sent", "answered", "half answered"]

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}
_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIMEOUT = 120


@dataclass(frozen=True)
class Checkpoint:
    """A point in the life of a request. The patterns are searched for; an empty one fits everything.

    :param body: pattern of the request's body, which is not known yet at ``half sent``.
    :param answer: pattern of the body of the answer.
    :param number: which one it is of the requests that fit.
    """

    point: Point
    method: str
    path: str
    body: str = ""
    answer: str = ""
    number: int = 1


@dataclass(eq=False)
class Strike:
    """What is done once, at a checkpoint of the requests of one case.

    :param name: what those requests have in common; see :meth:`Checkpoints.at`.
    :param act: is told the process id of the client.
    :ivar done: is set when it was done; ``victim`` and ``error`` say to whom, and what went wrong with that.
    """

    name: str
    checkpoint: Checkpoint
    act: Callable[[int], object]
    seen: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    victim: int | None = None
    error: Exception | None = None


class Checkpoints:
    """Stands before the server at the URL ``server``, and passes everything on, ``Host`` included.

    An emulator makes its URLs of that header, so polls and downloads come this way too.
    """

    def __init__(self, server: str) -> None:
        self.server = urllib.parse.urlsplit(server).netloc
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._strikes: list[Strike] = []
        self._submitted: dict[str, str] = {}
        self._lock = threading.Lock()
        self._listener: _Listener | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.stop()

    def at(self, name: str, checkpoint: Checkpoint, act: Callable[[int], object]) -> Strike:
        """Plan what is done, once, at a checkpoint of the requests that have ``name`` in their path or body.

        A poll or a download has the name that was in the submit. Let ``act`` kill the client and raise ``Cut``: both
        connections are reset then, as the network would. If it returns, the request goes on.
        """
        strike = Strike(name, checkpoint, act)
        with self._lock:
            self._strikes.append(strike)
        return strike

    def start(self) -> None:
        """Listen, at the same address as ever."""
        if self._listener is None:
            self._listener = _Listener(self)
            threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on, and reset those that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown()
            listener.server_close()
            listener.reset_all()

    def down_for(self, seconds: float) -> None:
        """Stop now, and start by itself after some seconds."""
        self.stop()
        self._timer = threading.Timer(seconds, self.start)
        self._timer.daemon = True
        self._timer.start()

    def due(self, point: Point, exchange: Exchange) -> list[Strike]:
        """Take what is planned at this point of this request."""
        with self._lock:
            due = [strike for strike in self._strikes if self._is_due(strike, point, exchange)]
            self._strikes = [strike for strike in self._strikes if strike not in due]
        return due

    def put_back(self, strikes: Sequence[Strike]) -> None:
        """Plan again for the next request what could not be done."""
        with self._lock:
            for strike in strikes:
                strike.seen -= 1
                self._strikes.append(strike)

    def remember(self, exchange: Exchange) -> None:
        """Remember what was submitted under an id: polls and downloads name nothing but that."""
        if exchange.command == "POST":
            with suppress(ValueError, AttributeError):
                self._submitted[str(json.loads(exchange.answer).get("id"))] = exchange.text

    def _is_due(self, strike: Strike, point: Point, exchange: Exchange) -> bool:
        wanted = strike.checkpoint
        if (wanted.point, wanted.method) != (point, exchange.command) or not re.search(
            wanted.path, exchange.path
        ):
            return False
        submitted = [self._submitted.get(found, "") for found in _ID.findall(exchange.path)]
        if not any(strike.name in text for text in (exchange.path, exchange.text, *submitted)):
            return False
        if not re.search(wanted.body, exchange.text) or not re.search(
            wanted.answer.encode(), exchange.answer
        ):
            return False
        strike.seen += 1
        return strike.seen == wanted.number


class _Listener(ThreadingHTTPServer):
    """Accepts connections while the proxy is up, and remembers them, to reset them when it is not any more."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: Checkpoints) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", proxy.port), Exchange)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection whose thread has ended; not politely, which would spoil a reset."""
        self._open.discard(request)
        self.close_request(request)

    def reset_all(self) -> None:
        """Reset what is open."""
        for connection in list(self._open):
            with suppress(OSError):
                _reset_when_closed(connection)
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class Exchange(BaseHTTPRequestHandler):
    """One request on its way, and what the server says to it."""

    protocol_version = "HTTP/1.1"
    server: _Listener
    body: bytes = b""
    answer: bytes = b""

    @property
    def text(self) -> str:
        """The request's body as text."""
        return self.body.decode(errors="replace")

    def do_GET(self) -> None:
        """Pass the request on, and the answer back; stop where that is planned."""
        self.body = self.answer = b""
        upstream = http.client.HTTPConnection(self.server.proxy.server, timeout=_TIMEOUT)
        try:
            upstream.connect()
            self._pass_on(upstream)
            self._pass_back(upstream.getresponse())
        except (Cut, OSError, http.client.HTTPException):
            # Without a reset, a server may take the end of the connection for the end of the body.
            for end in (upstream.sock, self.connection):
                if end is not None:
                    _reset_when_closed(end)
            self.close_connection = True
        finally:
            upstream.close()

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self, upstream: http.client.HTTPConnection) -> None:
        if "Transfer-Encoding" in self.headers:
            raise NotImplementedError("a body in chunks: no client here has sent one so far")
        length = int(self.headers.get("Content-Length", 0))
        half = self.rfile.read(length // 2)
        strikes = self.server.proxy.due("half sent", self)
        if strikes:
            self._begin(upstream, length)
            upstream.send(half)
            self._strike(strikes)
        self.body = half + self.rfile.read(length - len(half))
        if len(self.body) < length:
            raise ConnectionResetError
        self._strike(self.server.proxy.due("asked", self))
        if not strikes:
            self._begin(upstream, length)
        upstream.send(self.body[len(half) if strikes else 0 :])

    def _begin(self, upstream: http.client.HTTPConnection, length: int) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                upstream.putheader(name, value)
        if "Content-Length" in self.headers:
            upstream.putheader("Content-Length", str(length))
        upstream.endheaders()

    def _pass_back(self, said: http.client.HTTPResponse) -> None:
        self.answer = said.read()
        proxy = self.server.proxy
        proxy.remember(self)
        self._strike(proxy.due("answered", self))
        self.send_response_only(said.status, said.reason)
        for name, value in said.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        length = (
            said.headers.get("Content-Length", "0")
            if self.command == "HEAD"
            else str(len(self.answer))
        )
        self.send_header("Content-Length", length)
        self.end_headers()
        half = len(self.answer) // 2
        self.wfile.write(self.answer[:half])
        self._strike(proxy.due("half answered", self))
        self.wfile.write(self.answer[half:])

    def _strike(self, strikes: Sequence[Strike]) -> None:
        if not strikes:
            return
        try:
            client = client_of(self.client_address[1], self.server.proxy.port)
        except LookupError:  # somebody else has killed it while this was on its way
            self.server.proxy.put_back(strikes)
            raise Cut from None
        for strike in strikes:
            try:
                strike.victim = client
                strike.act(client)
            except Cut:
                raise
            except Exception as error:  # it belongs to the test that has planned the strike
                strike.error = error
            finally:
                strike.done.set()


def client_of(port: int, server_port: int) -> int:
    """Return the id of the process that has a connection from one port to the other.

    :raises LookupError: if there is none.
    """
    for one in psutil.net_connections("tcp"):
        if (
            one.pid
            and one.laddr
            and one.raddr
            and (one.laddr.port, one.raddr.port) == (port, server_port)
        ):
            return one.pid
    raise LookupError(f"nobody has a connection from port {port} to {server_port}")


def _reset_when_closed(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
