"""A real HTTP host on loopback that answers as a test scripts it, and keeps the requests."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: Size of the receive buffer: a client can have sent at most this many bytes ahead of a read.
_WINDOW = 32 * 1024


@dataclass
class ReceivedRequest:
    """A received request; ``body`` has the bytes that were read so far."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def json(self) -> Any:
        """The body as a JSON document."""
        return json.loads(self.body)


class Exchange(BaseHTTPRequestHandler):
    """One request and its connection, which an answer of :class:`Host` takes."""

    protocol_version = "HTTP/1.1"
    host: ScriptedHost
    received: ReceivedRequest

    def do_GET(self) -> None:
        """Answer as the test has scripted it."""
        self.received = ReceivedRequest(
            self.command, self.path, {name.lower(): text for name, text in self.headers.items()}
        )
        self.host.received.append(self.received)
        self.host.answer(self)

    do_POST = do_GET  # noqa: N815

    def read(self, size: int | None = None) -> bytearray:
        """Read the rest of the body, or at most ``size`` bytes of it."""
        left = (
            int(self.headers.get("Content-Length", 0)) - len(self.received.body)
            if size is None
            else size
        )
        while left > 0 and (piece := self.rfile.read(min(left, 64 * 1024))):
            self.received.body += piece
            left -= len(piece)
        return self.received.body

    def send(self, body: bytes = b"", status: int = 200, **headers: Any) -> None:
        """Read the request, then answer."""
        self.read()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, content: Any, status: int = 200, **headers: Any) -> None:
        """Answer with a JSON document."""
        self.send(json.dumps(content).encode(), status, Content_Type="application/json", **headers)

    def hang_up(self) -> None:
        """Close the connection as a crash does, with a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def wait(self, seconds: float) -> None:
        """Wait some seconds, or until the host is closed."""
        self.host.closing.wait(seconds)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that have disconnected."""


#: Answers a request.
Answer = Callable[[Exchange], None]


@dataclass
class ScriptedHost:
    """An HTTP host.

    ``answers`` has the answer for each path; ``"*"`` is that for all other paths. In a list of
    answers, each is used once, and the last one repeatedly.
    """

    address: str = "127.0.0.1"
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    received: list[ReceivedRequest] = field(default_factory=list)

    def __enter__(self) -> Self:
        handler = type("BoundExchange", (Exchange,), {"host": self})
        self._server = _Server((self.address, 0), handler, bind_and_activate=False)
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        self._server.server_bind()
        self._server.server_activate()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Scheme, address and port."""
        return f"http://{self.address}:{self.port}"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def put(self, path: str, content: bytes) -> str:
        """Serve a file, and return its URL."""
        self.answers[path] = lambda exchange: exchange.send(content)
        return f"{self.url}{path}"

    def answer(self, exchange: Exchange) -> None:
        """Answer a request as the test has scripted it."""
        path = exchange.path.partition("?")[0]
        with self._lock:
            answer = self.answers.get(path, self.answers.get("*", _not_found))
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
        answer(exchange)

    def wait_for(self, count: int, seconds: float = 5.0) -> list[ReceivedRequest]:
        """Wait until ``count`` requests have been received, and return all of them."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.received) >= count
        return self.received


def redirect(location: str, status: int = 302) -> Answer:
    """Return an answer that redirects to a location."""
    return lambda exchange: exchange.send(status=status, Location=location)


def status(code: int) -> Answer:
    """Return an answer with a status and no body."""
    return lambda exchange: exchange.send(status=code)


def drip(exchange: Exchange, *, head: bytes, piece: bytes = b" ") -> None:
    """Answer with a piece each 50 ms, for a minute."""
    exchange.read()
    exchange.close_connection = True
    end = time.monotonic() + 60
    with suppress(OSError):
        exchange.wfile.write(head)
        while time.monotonic() < end and not exchange.host.closing.wait(0.05):
            exchange.wfile.write(piece)


def _not_found(exchange: Exchange) -> None:
    exchange.send_json({"detail": "Not Found"}, 404)
