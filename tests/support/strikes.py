"""The points at which to interrupt a landing: the download, and the write of a local file.

Each point has ``at(passed, act)``, which plans an action after some bytes, like
``CuttingProxy.at``.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import requests

from tests.support.cutting_proxy import Cut
from tests.support.scripted_host import Exchange, ScriptedHost

_PASSED_ON = ("host", "x-key", "content-type")
_POLL_SECONDS = 0.0002


class StrikePoint(Protocol):
    """A point that the bytes of an image pass."""

    def at(self, passed: int, act: Callable[[], object]) -> None:
        """Plan one action after that many bytes; it may raise ``Cut``."""


class DeliveryProxy:
    """A proxy before an emulator that can interrupt a download."""

    def __init__(self, emulator: str) -> None:
        self._emulator = emulator
        self._host = ScriptedHost(answers={"*": self._answer})
        self._plan: tuple[int, Callable[[], object]] | None = None

    def __enter__(self) -> Self:
        self._host.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._host.__exit__(kind, error, at)

    @property
    def url(self) -> str:
        """The URL of the proxy, to which the emulator's signed URLs lead too."""
        return self._host.url

    @property
    def connection(self) -> str:
        """The Airflow connection to the emulator through the proxy."""
        return json.dumps(
            {"conn_type": "flux", "password": "bfl_struck_0123456789", "host": self.url}
        )

    def at(self, passed: int, act: Callable[[], object]) -> None:
        """Plan an action in the next download."""
        self._plan = passed, act

    def _answer(self, exchange: Exchange) -> None:
        headers = {name: exchange.headers[name] for name in _PASSED_ON if name in exchange.headers}
        body, url = bytes(exchange.read()), f"{self._emulator}{exchange.path}"
        response = requests.request(exchange.command, url, data=body, headers=headers, timeout=30)
        content = response.content
        plan = None
        if exchange.path.startswith("/results/"):
            plan, self._plan = self._plan, None
        if plan is None:
            exchange.send(
                content, response.status_code, Content_Type=response.headers["content-type"]
            )
            return
        passed, act = plan
        exchange.send_response(response.status_code)
        exchange.send_header("Content-Length", str(len(content)))
        exchange.end_headers()
        exchange.wfile.write(content[:passed])
        try:
            act()
        except Cut:
            exchange.hang_up()
        else:
            exchange.wfile.write(content[passed:])


class WatchedFolder:
    """A local folder whose growth can trigger an action.

    :param folder: the folder.
    :param before: bytes that it holds before the landing.
    """

    def __init__(self, folder: Path, before: int) -> None:
        self._folder, self._before = folder, before
        self._over = threading.Event()
        self._watchers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        for watcher in self._watchers:
            watcher.join()

    def at(self, passed: int, act: Callable[[], object]) -> None:
        """Plan an action once that many bytes are written; a quick write may end before it."""
        watcher = threading.Thread(target=self._watch, args=(passed, act))
        self._watchers.append(watcher)
        watcher.start()

    def _watch(self, passed: int, act: Callable[[], object]) -> None:
        while not self._over.is_set():
            if self._size() - self._before >= max(passed, 1):
                with suppress(Cut):
                    act()
                return
            time.sleep(_POLL_SECONDS)

    def _size(self) -> int:
        size = 0
        for path in self._folder.glob("*"):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return size


@contextmanager
def mount_small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount a disk of that size on a folder; yield whether the system allows it."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
