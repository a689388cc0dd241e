"""A reverse proxy on loopback that holds a request at a named point, to kill its client there."""

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

#: ``received``: the proxy has the request, and the server does not. ``half sent``: the server has
#: half of the body. ``answered``: the server has answered, and the client has no answer.
#: ``half answered``: the client has half of the answer.
Point = Literal["received", "half sent", "answered", "half answered"]

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}
_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Checkpoint:
    """A point in the life of a request. Patterns are searched for; an empty one matches anything.

    :param point: the point.
    :param method: HTTP method.
    :param path: pattern of the path.
    :param body: pattern of the body, which is not known yet at ``half sent``.
    :param answer: pattern of the body of the answer.
    :param number: 1 for the first request that matches, 2 for the second, and so on.
    """

    point: Point
    method: str
    path: str
    body: str = ""
    answer: str = ""
    number: int = 1


@dataclass(eq=False)
class Strike:
    """An action at a checkpoint, done once.

    :param name: text that is part of the requests of one case; see :meth:`CheckpointProxy.plan`.
    :param checkpoint: the point of the action.
    :param act: the action, with the process id of the client.
    :ivar seen: number of requests so far that match the checkpoint.
    :ivar done: set after the action.
    :ivar victim: the process id that the action was called with.
    :ivar error: the exception that the action raised.
    """

    name: str
    checkpoint: Checkpoint
    act: Callable[[int], object]
    seen: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    victim: int | None = None
    error: Exception | None = None


class CheckpointProxy:
    """A proxy before the server at the URL ``server`` that forwards everything, ``Host`` included.

    An emulator makes its URLs from that header, so polls and downloads use the proxy, too.
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

    def plan(self, name: str, checkpoint: Checkpoint, act: Callable[[int], object]) -> Strike:
        """Plan an action at a checkpoint of the requests with ``name`` in their path or body.

        The requests of a generation have the name that was in its submit. If ``act`` kills the
        client and raises ``Cut``, both connections are reset, as the network would. If it returns,
        the request continues.
        """
        strike = Strike(name, checkpoint, act)
        with self._lock:
            self._strikes.append(strike)
        return strike

    def start(self) -> None:
        """Start to listen, always at the same address."""
        if self._listener is None:
            self._listener = _Listener(self)
            threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse new connections, and reset those that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown()
            listener.server_close()
            listener.reset_all()

    def down_for(self, seconds: float) -> None:
        """Stop now, and start again after some seconds."""
        self.stop()
        self._timer = threading.Timer(seconds, self.start)
        self._timer.daemon = True
        self._timer.start()

    def take_due(self, point: Point, exchange: Exchange) -> list[Strike]:
        """Remove and return the strikes that are due at this point of a request."""
        with self._lock:
            due = [strike for strike in self._strikes if self._is_due(strike, point, exchange)]
            self._strikes = [strike for strike in self._strikes if strike not in due]
        return due

    def put_back(self, strikes: Sequence[Strike]) -> None:
        """Plan strikes again, for the next request that matches."""
        with self._lock:
            for strike in strikes:
                strike.seen -= 1
                self._strikes.append(strike)

    def remember_submit(self, exchange: Exchange) -> None:
        """Remember the body of a submit by its id, which is all that polls and downloads have."""
        if exchange.command == "POST":
            with suppress(ValueError, AttributeError):
                self._submitted[str(json.loads(exchange.answer).get("id"))] = exchange.text

    def _is_due(self, strike: Strike, point: Point, exchange: Exchange) -> bool:
        checkpoint = strike.checkpoint
        if (checkpoint.point, checkpoint.method) != (point, exchange.command) or not re.search(
            checkpoint.path, exchange.path
        ):
            return False
        submitted = [
            self._submitted.get(request_id, "") for request_id in _ID.findall(exchange.path)
        ]
        if not any(strike.name in text for text in (exchange.path, exchange.text, *submitted)):
            return False
        if not re.search(checkpoint.body, exchange.text) or not re.search(
            checkpoint.answer.encode(), exchange.answer
        ):
            return False
        strike.seen += 1
        return strike.seen == checkpoint.number


class _Listener(ThreadingHTTPServer):
    """Accepts connections while the proxy is up, and resets them when it stops."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: CheckpointProxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", proxy.port), Exchange)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection of an ended thread; a shutdown would prevent a reset."""
        self._open.discard(request)
        self.close_request(request)

    def reset_all(self) -> None:
        """Reset all open connections."""
        for connection in list(self._open):
            with suppress(OSError):
                _reset_when_closed(connection)
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that have disconnected."""


class Exchange(BaseHTTPRequestHandler):
    """One request on its way to the server, and the answer on its way back."""

    protocol_version = "HTTP/1.1"
    server: _Listener
    body: bytes = b""
    answer: bytes = b""

    @property
    def text(self) -> str:
        """The body of the request as text."""
        return self.body.decode(errors="replace")

    def do_GET(self) -> None:
        """Forward the request and return the answer, with the strikes that are due."""
        self.body = self.answer = b""
        upstream = http.client.HTTPConnection(self.server.proxy.server, timeout=_TIMEOUT_SECONDS)
        try:
            upstream.connect()
            self._forward(upstream)
            self._send_answer(upstream.getresponse())
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
        """Log nothing."""

    def _forward(self, upstream: http.client.HTTPConnection) -> None:
        if "Transfer-Encoding" in self.headers:
            raise NotImplementedError("chunked bodies: no client here has sent one so far")
        length = int(self.headers.get("Content-Length", 0))
        half = self.rfile.read(length // 2)
        strikes = self.server.proxy.take_due("half sent", self)
        if strikes:
            self._begin(upstream, length)
            upstream.send(half)
            self._strike(strikes)
        self.body = half + self.rfile.read(length - len(half))
        if len(self.body) < length:
            raise ConnectionResetError
        self._strike(self.server.proxy.take_due("received", self))
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

    def _send_answer(self, response: http.client.HTTPResponse) -> None:
        self.answer = response.read()
        proxy = self.server.proxy
        proxy.remember_submit(self)
        self._strike(proxy.take_due("answered", self))
        self.send_response_only(response.status, response.reason)
        for name, value in response.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        length = (
            response.headers.get("Content-Length", "0")
            if self.command == "HEAD"
            else str(len(self.answer))
        )
        self.send_header("Content-Length", length)
        self.end_headers()
        half = len(self.answer) // 2
        self.wfile.write(self.answer[:half])
        self._strike(proxy.take_due("half answered", self))
        self.wfile.write(self.answer[half:])

    def _strike(self, strikes: Sequence[Strike]) -> None:
        if not strikes:
            return
        try:
            client = client_of(self.client_address[1], self.server.proxy.port)
        except LookupError:  # another strike has killed the client meanwhile
            self.server.proxy.put_back(strikes)
            raise Cut from None
        for strike in strikes:
            try:
                strike.victim = client
                strike.act(client)
            except Cut:
                raise
            except Exception as error:  # for the test that has planned the strike
                strike.error = error
            finally:
                strike.done.set()


def client_of(port: int, server_port: int) -> int:
    """Return the id of the process with a connection from one port to the other.

    :param port: the port of the client.
    :param server_port: the port of the server.
    :raises LookupError: if there is none.
    """
    for connection in psutil.net_connections("tcp"):
        if not connection.pid or not connection.laddr or not connection.raddr:
            continue
        if (connection.laddr.port, connection.raddr.port) == (port, server_port):
            return connection.pid
    raise LookupError(f"no process has a connection from port {port} to {server_port}")


def _reset_when_closed(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
