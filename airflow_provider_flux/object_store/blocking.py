"""Blocking calls of the coroutines of stores: in another thread, or right where they are made.

The coroutines of this package run on the event loop of the stores. For the local disk that loop
only passes calls on to threads, and each hop costs more than the call. So work on the local disk
can also run on a thread without an event loop, from its first step to its last, by
:func:`run_here`. Without a loop there is nothing that a forked process could inherit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")
#: Whether :func:`run_here` is at work on the thread, and its ``is_cancelled``.
_THREAD = threading.local()
#: Seconds between two looks whether somebody still waits for work that needs an event loop.
_LOOK_SECONDS = 0.1


def has_loop() -> bool:
    """Whether an event loop runs on this thread, so that blocking calls would hold it up."""
    if getattr(_THREAD, "is_here", False):
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def call_blocking(
    function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs
) -> _T:
    """Call a function that blocks: in a thread if there is an event loop, else right here.

    :param function: the function.
    :param arguments: its positional arguments.
    :param options: its keyword arguments.
    :return: its result.
    """
    if has_loop():
        return await asyncio.to_thread(function, *arguments, **options)
    return function(*arguments, **options)


async def pause(seconds: float) -> None:
    """Wait on the event loop; on the thread itself if it has none.

    :param seconds: how long.
    :raises CancelledError: if nobody waits for the work any more.
    """
    if has_loop():
        await asyncio.sleep(seconds)
        return
    is_cancelled: threading.Event = getattr(_THREAD, "is_cancelled", None) or threading.Event()
    if is_cancelled.wait(seconds):
        raise asyncio.CancelledError


async def gather(*work: Coroutine[Any, Any, _T]) -> list[_T]:
    """Run coroutines at the same time; one after the other if there is no event loop.

    :param work: the coroutines.
    :return: their results in order.
    """
    if has_loop():
        return list(await asyncio.gather(*work))
    return [await item for item in work]


class _LoopOnDemand:
    """Stand-in for the event loop of a thread without one, which begins one if it is asked for."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._begin(), name)

    def _begin(self) -> asyncio.AbstractEventLoop:
        self._loop = self._loop or asyncio.new_event_loop()
        return self._loop

    def go_on(
        self, work: Coroutine[Any, Any, _T], waits_for: Any, is_cancelled: threading.Event | None
    ) -> _T:
        """Run a coroutine to its end that has begun, and waits for something."""
        loop = self._begin()
        task = loop.create_task(_go_on(work, waits_for))

        def look() -> None:
            if is_cancelled is not None and is_cancelled.is_set():
                task.cancel()
            loop.call_later(_LOOK_SECONDS, look)

        look()
        return loop.run_until_complete(task)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


@dataclass(frozen=True)
class _Rest(Generic[_T]):
    """The rest of a coroutine that has begun, and that waits for something."""

    work: Coroutine[Any, Any, _T]
    waits_for: Any

    def __await__(self) -> Generator[Any, Any, _T]:
        step = self.waits_for
        while True:
            try:
                try:
                    answer = yield step
                except BaseException as error:
                    step = self.work.throw(error)
                else:
                    step = self.work.send(answer)
            except StopIteration as end:
                result: _T = end.value
                return result


async def _go_on(work: Coroutine[Any, Any, _T], waits_for: Any) -> _T:
    return await _Rest(work, waits_for)


def run_here(work: Coroutine[Any, Any, _T], is_cancelled: threading.Event | None = None) -> _T:
    """Run a coroutine to its end on this thread, which has no event loop.

    A coroutine that waits only by the functions of this module needs none. For another one, for
    example of a filesystem that replaces the one of the local disk, a loop begins when it first
    waits, and ends with it. So ``asyncio.timeout``, and locks that begin before, do not work here.

    :param work: the coroutine.
    :param is_cancelled: set by another thread to end its pauses, by ``CancelledError``. ``None``,
        the default, lets it end them all.
    :return: its result.
    """
    stand_in = _LoopOnDemand()
    _THREAD.is_here, _THREAD.is_cancelled = True, is_cancelled
    asyncio._set_running_loop(stand_in)  # type: ignore[arg-type]
    try:
        waits_for = work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    else:
        asyncio._set_running_loop(None)
        return stand_in.go_on(work, waits_for, is_cancelled)
    finally:
        asyncio._set_running_loop(None)
        stand_in.close()
        _THREAD.is_here, _THREAD.is_cancelled = False, None
