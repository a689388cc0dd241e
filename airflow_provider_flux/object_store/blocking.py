"""Blocking calls of the coroutines of stores: in another thread, or right where they are made.

The coroutines of this package run on the event loop of the stores. For the local disk that loop
only passes calls on to threads, and each hop costs more than the call. So work on the local disk
can also run on a thread without an event loop, from its first step to its last, by
:func:`run_here`. Without a loop there is nothing that a forked process could inherit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")
#: The ``is_cancelled`` of :func:`run_here` on the thread.
_THREAD = threading.local()


def has_loop() -> bool:
    """Whether an event loop runs on this thread, so that blocking calls would hold it up."""
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
    try:
        return [await item for item in work]
    finally:
        for item in work:  # after a failure, those behind it never began
            item.close()


def run_here(work: Coroutine[Any, Any, _T], is_cancelled: threading.Event | None = None) -> _T:
    """Run a coroutine to its end on this thread, which has no event loop.

    :param work: a coroutine that waits by :func:`call_blocking`, :func:`pause` and :func:`gather`
        alone. They never suspend it here, so its first step is its last one.
    :param is_cancelled: set by another thread to end its pauses, by ``CancelledError``. ``None``,
        the default, lets it end them all.
    :return: its result.
    :raises RuntimeError: if it waits in another way, for example by ``asyncio.sleep`` or
        ``asyncio.timeout``: only an event loop could wake it up.
    """
    _THREAD.is_cancelled = is_cancelled
    try:
        work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    finally:
        _THREAD.is_cancelled = None
    work.close()
    raise RuntimeError(
        f"{work!r} waits for an event loop, and this thread has none. On the local disk it must "
        f"wait by the functions of {__name__} alone."
    )
