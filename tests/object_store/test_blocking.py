from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_flux.object_store import filesystem, objects
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.blocking import (
    call_blocking,
    gather,
    has_loop,
    pause,
    run_here,
)
from airflow_provider_flux.object_store.filesystem import open_path, run_near
from airflow_provider_flux.object_store.fsspec_adapter import store_loop
from airflow_provider_flux.object_store.objects import put, read

OPTIONS = WriteOptions("text/plain")


async def name_of_thread() -> str:
    return await call_blocking(lambda: threading.current_thread().name)


def test_work_without_a_loop_runs_on_its_own_thread() -> None:
    assert run_here(name_of_thread()) == threading.current_thread().name


async def test_a_blocking_call_leaves_a_running_loop_free() -> None:
    assert await name_of_thread() != threading.current_thread().name


def test_coroutines_without_a_loop_run_one_after_the_other() -> None:
    async def work() -> list[str]:
        return await gather(name_of_thread(), name_of_thread())

    assert run_here(work()) == [threading.current_thread().name] * 2


async def sleep() -> None:
    await asyncio.sleep(1)


async def give_way() -> None:
    await asyncio.sleep(0)


async def limit_time() -> None:
    async with asyncio.timeout(3600):
        await pause(0)


async def wait_for_future() -> None:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()


@pytest.mark.parametrize("work", [sleep, give_way, limit_time, wait_for_future])
def test_work_that_needs_a_loop_fails_instead_of_hanging(
    work: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    with pytest.raises(RuntimeError, match=r"no running event loop|waits for an event loop"):
        run_here(work())


async def test_work_on_the_local_disk_does_not_use_the_loop_of_the_stores(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/folder/a.txt"
    await asyncio.to_thread(open_path, uri)

    async def write_and_read() -> bytes | None:
        assert not has_loop()
        await put(uri, b"whole", OPTIONS)
        return await read(uri)

    assert await run_near(uri, write_and_read()) == b"whole"


async def test_a_cancelled_caller_ends_the_pauses_of_its_work(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/a.txt"
    loop, is_pausing = asyncio.get_running_loop(), asyncio.Event()
    has_ended = threading.Event()

    async def work() -> None:
        loop.call_soon_threadsafe(is_pausing.set)
        try:
            await pause(3600)
        finally:
            has_ended.set()

    task = asyncio.create_task(run_near(uri, work()))
    await is_pausing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(has_ended.wait, 60)


class AttachedFileSystem(LocalFileSystem):
    """Filesystem with a coroutine, which a deployment attaches in place of the one of fsspec."""

    async def _cat_file(self, path: str, **options: Any) -> bytes:
        await asyncio.sleep(0)
        return bytes(self.cat_file(path, **options))


async def test_a_filesystem_that_replaces_the_local_one_gets_the_loop_of_the_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"file://{tmp_path}/a.txt"
    await asyncio.to_thread(open_path, uri)
    await run_near(uri, put(uri, b"whole", OPTIONS))
    monkeypatch.setattr(filesystem, "_LOCAL_FS", [AttachedFileSystem()])

    async def read_on_loop() -> bytes | None:
        assert asyncio.get_running_loop() is store_loop()
        return await read(uri)

    assert await run_near(uri, read_on_loop()) == b"whole"


async def test_a_disk_that_fails_for_a_moment_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"file://{tmp_path}/a.txt"
    await asyncio.to_thread(open_path, uri)
    monkeypatch.setattr(objects, "_FIRST_PAUSE_SECONDS", 0.0)
    fsync, failures = os.fsync, [OSError("a moment")] * 3

    def fail_once(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    await run_near(uri, put(uri, b"whole", OPTIONS))
    assert await asyncio.to_thread(os.listdir, tmp_path) == ["a.txt"]
    assert await run_near(uri, read(uri)) == b"whole"


async def test_a_forked_process_does_not_disturb_work_on_the_local_disk(tmp_path: Path) -> None:
    """A child that closed a loop of its parent would deregister the sockets of the parent."""
    uri = f"file://{tmp_path}/a.txt"
    await asyncio.to_thread(open_path, uri)
    await run_near(uri, put(uri, b"parent", OPTIONS))
    child = await asyncio.to_thread(_fork_and_write, uri)
    assert child == 0
    assert await run_near(uri, read(uri)) == b"child"


def _fork_and_write(uri: str) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            run_here(put(uri, b"child", OPTIONS))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
