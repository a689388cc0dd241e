"""A real HTTP host on loopback that does what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: Bytes that may be on their way: what a client has sent is at most that far from what was read here.
_WINDOW = 32 * 1024


@dataclass
class Asked:
    """A request as it came in. ``body`` is what was read of it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def json(self) -> Any:
        """The body as a JSON document."""
        return json.loads(self.body)


class Exchange(BaseHTTPRequestHandler):
    """One request: what an answer of :class:`Host` is given to work with."""

    protocol_version = "HTTP/1.1"
    host: Host
    asked: Asked

    def do_GET(self) -> None:
        """Answer as the test wants it."""
        self.asked = Asked(
            self.command, self.path, {name.lower(): text for name, text in self.headers.items()}
        )
        self.host.asked.append(self.asked)
        self.host.answer(self)

    do_POST = do_GET  # noqa: N815

    def read(self, size: int | None = None) -> bytearray:
        """Read what is left of the body, or some of it."""
        left = (
            int(self.headers.get("Content-Length", 0)) - len(self.asked.body)
            if size is None
            else size
        )
        while left > 0 and (piece := self.rfile.read(min(left, 64 * 1024))):
            self.asked.body += piece
            left -= len(piece)
        return self.asked.body

    def send(self, body: bytes = b"", status: int = 200, **headers: Any) -> None:
        """Answer, having read the request."""
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
        """Do nothing for a while, or until the host is closed."""
        self.host.closing.wait(seconds)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


#: What is done with a request.
Answer = Callable[[Exchange], None]


@dataclass
class Host:
    """An HTTP host. ``answers`` says what is done by path; ``"*"`` stands for any other path.

    Of a list of answers each is given once, the last one for ever.
    """

    address: str = "127.0.0.1"
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

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
        """The port it listens on."""
        return int(self._server.server_port)

    def put(self, path: str, content: bytes) -> str:
        """Offer a file; return its URL."""
        self.answers[path] = lambda exchange: exchange.send(content)
        return f"{self.url}{path}"

    def answer(self, exchange: Exchange) -> None:
        """Do what the test wants done with a request."""
        path = exchange.path.partition("?")[0]
        with self._lock:
            answer = self.answers.get(path, self.answers.get("*", _not_found))
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
        answer(exchange)

    def wait_for(self, count: int, seconds: float = 5.0) -> list[Asked]:
        """Wait until so many requests have come in, and return them."""
        deadline = time.monotonic() + seconds
        while len(self.asked) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.asked) >= count
        return self.asked


def redirect(location: str, status: int = 302) -> Answer:
    """Return the answer that leads elsewhere."""
    return lambda exchange: exchange.send(status=status, Location=location)


def status(code: int) -> Answer:
    """Return the answer that is a status alone."""
    return lambda exchange: exchange.send(status=code)


def _not_found(exchange: Exchange) -> None:
    exchange.send_json({"detail": "Not Found"}, 404)
