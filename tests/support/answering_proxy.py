"""An HTTP proxy on loopback that answers some requests with the errors of a store."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable
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
    :ivar lost: share of the answers, from 0 to 1, that are lost: the server did what was requested.
    :ivar conflicts: share of the writes under a condition that get a 412 and are not passed on.
    :ivar drawn: how many answers were lost, and how many writes got such a 412.
    :ivar turn: one request at a time is passed on: moto shows a version that is gone, and answers
        500 from then on, if two threads change the versions of an object at the same time.
    """

    def __init__(self, server: str) -> None:
        address = urlsplit(server)
        self.server = (address.hostname or "127.0.0.1", address.port or 80)
        self.received: list[str] = []
        self.root = ""
        self.lost = self.conflicts = 0.0
        self.drawn = {"lost": 0, "conflicts": 0}
        self._random = random.Random(12)
        self._losses: list[Callable[[], object]] = []
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

    def judge_in_turn(self, method: str, path: str, body: bytes) -> tuple[int, str] | None:
        """Return status and code of a refusal, right before the request is passed on.

        :param body: the body of the request.
        """
        return None

    def lose_next(self, act: Callable[[], object] = lambda: None) -> None:
        """Lose the answer to the next request that writes under a condition.

        :param act: called when the server has answered.
        """
        self._losses.append(act)

    def lose(self, is_write: bool) -> bool:
        """Whether an answer is lost: as planned, or by chance.

        :param is_write: whether the request writes under a condition.
        """
        if is_write and self._losses:
            self._losses.pop(0)()
            self.drawn["lost"] += 1
            return True
        return self.draw("lost", self.lost)

    def draw(self, kind: str, share: float) -> bool:
        """Whether a fault happens, by chance.

        :param kind: the fault, as ``drawn`` counts it.
        :param share: how often it happens, from 0 to 1.
        """
        with self._lock:
            happens = self._random.random() < share
            self.drawn[kind] += happens
        return happens

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
        has_condition = self._has_condition(headers)
        if refusal is None and has_condition:
            conflict = self.proxy.draw("conflicts", self.proxy.conflicts)
            refusal = (412, "PreconditionFailed") if conflict else None
        if refusal is not None:
            self._refuse(*refusal)
            return
        headers = {name: text for name, text in headers.items() if name not in _HOP_HEADERS}
        headers["Content-Length"] = str(len(body))
        with self.proxy.turn, closing(self.proxy.open_link()) as link:
            refusal = self.proxy.judge_in_turn(self.command, self.path, body)
            if refusal is None:
                link.request(self.command, self.path, body, headers)
                response = link.getresponse()
                answer = response.status, response.getheaders(), response.read()
        if refusal is not None:
            self._refuse(*refusal)
        elif self.proxy.lose(has_condition):
            self.close_connection = True  # without an answer
        else:
            self._answer(*answer)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815

    def _has_condition(self, headers: dict[str, str]) -> bool:
        return self.command in {"PUT", "POST"} and (
            "if-match" in headers or "if-none-match" in headers or "ifGenerationMatch" in self.path
        )

    def _refuse(self, status: int, code: str) -> None:
        headers = [("Content-Type", "application/xml"), ("x-ms-error-code", code)]
        self._answer(status, headers, _ERROR.format(code=code).encode())

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
