"""An emulator on a real socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.http.answers import CONNECTION_KEY
from airflow_provider_flux.emulator.http.app import Emulator, create_app
from airflow_provider_flux.emulator.service import Stats
from airflow_provider_flux.emulator.timeline import Timeline

_T = TypeVar("_T")

_ANY_ADDRESS = "0.0.0.0"  # noqa: S104  only with region_hosts, which are other addresses of this machine
_STOP_SECONDS = 5
# Longer than a client waits between two polls: none meets a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75


class EmulatorServer:
    """Run an emulator while a ``with`` block lasts, or between :meth:`start` and :meth:`stop`.

    It has its own thread and event loop, so it can be used beside a running one::

        with EmulatorServer(EmulatorConfig(latency=0.2)) as emulator:
            requests.get(f"{emulator.url}/v1/credits", headers={"x-key": "bfl_emulator"})

    Each start is a new emulator: nothing is kept from the one before.
    """

    def __init__(self, config: EmulatorConfig | None = None) -> None:
        self.config = config or EmulatorConfig()
        self._running: _Running | None = None

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

    @property
    def url(self) -> str:
        """Scheme, host and port of the running emulator."""
        host = "127.0.0.1" if self.config.host == _ANY_ADDRESS else self.config.host
        return f"http://{host}:{self._now_running().port}"

    def start(self) -> None:
        """Listen, and return once requests are answered."""
        listener = _listen(self.config)
        emulator = Emulator(self.config)
        server = uvicorn.Server(_uvicorn_config(emulator, verbose=self.config.verbose))
        loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=_serve, args=(server, listener, loop), name="flux-emulator", daemon=True
        )
        self._running = _Running(emulator, server, loop, thread, port=listener.getsockname()[1])
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("The emulator did not start.")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop listening, end what is under way, and wait for the thread."""
        running, self._running = self._running, None
        if running is not None:
            running.loop.call_soon_threadsafe(running.emulator.closing.set)
            running.server.should_exit = True
            running.thread.join(_STOP_SECONDS)

    def stats(self) -> Stats:
        """Return what was seen so far, as ``GET /_emulator/stats`` does."""
        return self._call(self._now_running().emulator.service.stats)

    def timeline(self) -> Timeline:
        """Return what became of each task, as ``GET /_emulator/timeline`` does."""
        return self._call(self._now_running().emulator.service.timeline)

    def reset(self) -> None:
        """Forget every account, task and count."""
        self._call(self._now_running().emulator.reset)

    def _now_running(self) -> _Running:
        if self._running is None:
            raise RuntimeError("The emulator is not running.")
        return self._running

    def _call(self, function: Callable[[], _T]) -> _T:
        """Call a function where the state lives: on the emulator's event loop."""

        async def call() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._now_running().loop).result(
            _STOP_SECONDS
        )


@dataclass(frozen=True)
class _Running:
    emulator: Emulator
    server: uvicorn.Server
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    port: int


def _listen(config: EmulatorConfig) -> socket.socket:
    host = _ANY_ADDRESS if config.region_hosts else config.host
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, config.port))
    except OSError:
        listener.close()
        raise
    return listener


def _uvicorn_config(emulator: Emulator, *, verbose: bool) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(emulator),
        http=cast("type[asyncio.Protocol]", _connection),
        ws="none",
        access_log=verbose,
        log_config=None,
        log_level="info" if verbose else "warning",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )


def _connection(**arguments: Any) -> asyncio.Protocol:
    """Return uvicorn's protocol for a new connection, within reach of the routes that have to break it."""
    protocol: Any = AutoHTTPProtocol(**arguments)
    protocol.app_state = {**protocol.app_state, CONNECTION_KEY: protocol}
    return cast("asyncio.Protocol", protocol)


def _serve(
    server: uvicorn.Server, listener: socket.socket, loop: asyncio.AbstractEventLoop
) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(server.serve(sockets=[listener]))
