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
from airflow_provider_flux.emulator.fault_scripts import parse_faults
from airflow_provider_flux.emulator.http.app import Emulator, create_app
from airflow_provider_flux.emulator.http.responses import CONNECTION_KEY
from airflow_provider_flux.emulator.stats import Stats, Timeline

_T = TypeVar("_T")

# Used with region_hosts only, which are further addresses of this machine.
_ANY_ADDRESS = "0.0.0.0"  # noqa: S104
_STOP_SECONDS = 5
# Longer than a client waits between two polls, so that no poll meets a connection that closes.
_KEEP_ALIVE_SECONDS = 75


class EmulatorServer:
    """An emulator that runs in a ``with`` block, or between :meth:`start` and :meth:`stop`.

    It has a thread and an event loop of its own, so it can be used beside a running one::

        with EmulatorServer(EmulatorConfig(latency=0.2)) as emulator:
            requests.get(f"{emulator.url}/v1/credits", headers={"x-key": "bfl_emulator"})

    Each start makes a new emulator without accounts and tasks.

    :param config: the configuration; ``None`` takes the defaults.
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
        """Scheme, host and port of the running emulator.

        :raises RuntimeError: if the emulator is not running.
        """
        host = "127.0.0.1" if self.config.host == _ANY_ADDRESS else self.config.host
        return f"http://{host}:{self._require_running().port}"

    def start(self) -> None:
        """Start to listen, and return once requests are answered.

        :raises OSError: if the port is in use.
        :raises RuntimeError: if the server ends before it listens.
        """
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
        """Stop to listen, end the open requests, and wait for the thread."""
        running, self._running = self._running, None
        if running is not None:
            running.loop.call_soon_threadsafe(running.emulator.closing.set)
            running.server.should_exit = True
            running.thread.join(_STOP_SECONDS)

    def stats(self) -> Stats:
        """Return the counts so far, as ``GET /_emulator/stats`` does."""
        return self._call(self._require_running().emulator.service.stats)

    def timeline(self) -> Timeline:
        """Return the history of the tasks, as ``GET /_emulator/timeline`` does."""
        return self._call(self._require_running().emulator.service.timeline)

    def submits(self, text: str = "") -> int:
        """Return how many tasks were submitted, and so billed.

        :param text: a part of their prompts; empty counts all.
        """
        if not text:
            return self.stats()["submits"]
        per_prompt = self.stats()["submits_per_prompt"]
        return sum(number for prompt, number in per_prompt.items() if text in prompt)

    def set_faults(self, *faults: str) -> None:
        """Replace the faults for every request, from the next submit on.

        Faults in a prompt or a header still beat them. A reset keeps them.

        :param faults: fault scripts (``NAME=ARG``); none lets every request succeed.
        :raises ValueError: if a fault is unknown, or its argument cannot be read.
        """
        service = self._require_running().emulator.service
        parsed = parse_faults(faults)
        self._call(lambda: setattr(service, "default_faults", parsed))

    def reset(self) -> None:
        """Forget every account, task and count."""
        self._call(self._require_running().emulator.reset)

    def release(self, text: str = "") -> int:
        """End the waiting of tasks with the fault ``held``, and return their number.

        :param text: a part of their prompts; empty releases all.
        """
        emulator = self._require_running().emulator
        return self._call(lambda: emulator.release(text))

    def _require_running(self) -> _Running:
        if self._running is None:
            raise RuntimeError("The emulator is not running.")
        return self._running

    def _call(self, function: Callable[[], _T]) -> _T:
        """Call a function on the event loop of the emulator, which owns the state."""

        async def call() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._require_running().loop).result(
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
        http=cast("type[asyncio.Protocol]", _create_protocol),
        ws="none",
        proxy_headers=False,  # http/forwarded.py reads them
        access_log=verbose,
        log_config=None,
        log_level="info" if verbose else "warning",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )


def _create_protocol(**arguments: Any) -> asyncio.Protocol:
    """Return uvicorn's protocol for a connection, with a key by which routes find and break it."""
    protocol: Any = AutoHTTPProtocol(**arguments)
    protocol.app_state = {**protocol.app_state, CONNECTION_KEY: protocol}
    return cast("asyncio.Protocol", protocol)


def _serve(
    server: uvicorn.Server, listener: socket.socket, loop: asyncio.AbstractEventLoop
) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(server.serve(sockets=[listener]))
