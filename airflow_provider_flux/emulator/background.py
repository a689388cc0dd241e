"""Work beside the event loop, and after a request was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")

# Threads of its own: those of the event loop look up host names, and may be waiting for a name server.
_THREADS = ThreadPoolExecutor(thread_name_prefix="flux-emulator-work")


async def in_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function that draws or decodes, so that others are answered meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


class Background:
    """Coroutines that run beside the answers, and are cancelled together."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the event loop; nobody waits for it."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def cancel(self) -> None:
        """End what is still running."""
        for task in self._running:
            task.cancel()
