"""An HTTP proxy on loopback that answers some requests with the errors of a store."""

from __future__ import annotations

import http.client
import threading
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    "<Error><Code>{code}</Code><Message>{code}</Message></Error>"
)


@dataclass
class _Plan:
    method: str
    part: str
    status: int
    code: str
    times: int
    after: int = 0


class AnsweringProxy:
    """A proxy before an S3 server.

    :param server: URL of the server.
    :ivar received: method and path of every request.
    :ivar root: folder where a test writes through the proxy.
    :ivar turn: one request at a time is passed on: moto shows a version that is gone, and answers
        500 from then on, if two threads change the versions of an object at the same time.
    """

    def __init__(self, server: str) -> None:
        address = urlsplit(server)
        self.server = (address.hostname or "127.0.0.1", address.port or 80)
        self.received: list[str] = []
        self.root = ""
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()
        self.turn = threading.Lock()

    def open_link(self) -> http.client.HTTPConnection:
        """Return a connection to the server."""
        return http.client.HTTPConnection(*self.server, timeout=30)

    def refuse(
        self, method: str, status: int, code: str, *, part: str = "", times: int = 1, after: int = 0
    ) -> None:
        """Answer requests of a method, to paths that hold ``part``, with an error of S3.

        :param times: how many requests to refuse.
        :param after: how many to pass first.
        """
        self._plans.append(_Plan(method, part, status, code, times, after))

    def forget_plans(self) -> None:
        """Refuse nothing more."""
        self._plans.clear()

    def count(self, method: str) -> int:
        """Return the number of requests of a method."""
        return sum(request.startswith(f"{method} ") for request in self.received)

    def take(self, method: str, path: str) -> _Plan | None:
        """Record a request, and use the plan for it once."""
        with self._lock:
            self.received.append(f"{method} {path}")
            for plan in self._plans:
                if plan.method == method and plan.part in path and plan.times > 0:
                    if plan.after > 0:
                        plan.after -= 1
                        continue
                    plan.times -= 1
                    return plan
        return None

    def judge(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """Return status and code of a refusal; ``None`` to pass the request on.

        :param headers: the headers by their names in lower case, which this may change.
        """
        plan = self.take(method, path)
        return (plan.status, plan.code) if plan else None

    def finish_body(self, body: bytes) -> bytes:
        """Return the body of an answer as the client gets it.

        :param body: what the server or the proxy answers.
        """
        return body

    def listen(self, http: ThreadingHTTPServer) -> str:
        """Prepare the socket of the proxy, and return the scheme of its URL."""
        return "http"

    def __enter__(self) -> Self:
        handler = type("Bound", (_Handler,), {"proxy": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        scheme = self.listen(self._http)
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        self.url = f"{scheme}://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: AnsweringProxy

    def do_GET(self) -> None:
        body = self._body()
        headers = {name.lower(): text for name, text in self.headers.items()}
        refusal = self.proxy.judge(self.command, self.path, headers)
        if refusal is not None:
            status, code = refusal
            error = _ERROR.format(code=code).encode()
            self._answer(status, [("Content-Type", "application/xml")], error)
            return
        headers = {name: text for name, text in headers.items() if name not in _HOP_HEADERS}
        headers["Content-Length"] = str(len(body))
        with self.proxy.turn, closing(self.proxy.open_link()) as link:
            link.request(self.command, self.path, body, headers)
            response = link.getresponse()
            answer = response.status, response.getheaders(), response.read()
        self._answer(*answer)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        body = self.proxy.finish_body(body)
        self.send_response(status)
        for name, text in headers:
            if name.lower() not in _HOP_HEADERS or (
                self.command == "HEAD" and name.lower() == "content-length"
            ):
                self.send_header(name, text)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


_HOP_HEADERS = {"transfer-encoding", "content-length", "connection", "date", "server", "expect"}
