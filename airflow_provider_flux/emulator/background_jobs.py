"""Work beside the event loop, and after a request was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")

# These threads are not those of the event loop, which look up host names and may be waiting for a
# name server.
_THREADS = ThreadPoolExecutor(thread_name_prefix="flux-emulator-work")


async def run_in_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function in a thread, so that the event loop answers other requests meanwhile.

    :param function: a function that draws or decodes.
    :param arguments: its positional arguments.
    """
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


class BackgroundJobs:
    """Coroutines that no request waits for, and that are cancelled together."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the event loop.

        :param job: the coroutine; its result is not used.
        """
        running = asyncio.create_task(job)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    def cancel(self) -> None:
        """Cancel the coroutines that are still running."""
        for running in self._running:
            running.cancel()
