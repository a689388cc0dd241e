"""CPU that many waiting generations cost on one event loop.

``python -m benchmarks.triggers [N]`` compares the trigger with the usual code. For each way to wait
it prints wall-clock time, CPU for each generation, CPU of the longest callback of the loop, and
polls. The emulator is a process of its own. An image takes 8 s.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import requests

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import Submission
from airflow_provider_flux.generation import new_generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.triggers.result import FluxResultTrigger
from benchmarks.emulator import KEY, Emulator, run_emulator

LATENCY = 8.0
REQUEST = build_request("flux-pro-1.1", {"prompt": "a benchmark"})
Waiter = Callable[[Submission], Awaitable[None]]


async def wait_by_trigger(submission: Submission) -> None:
    """Wait with the trigger of this provider: one session, and polls that become rarer."""
    trigger = FluxResultTrigger(
        flux_conn_id="flux_default",
        generation=new_generation(REQUEST, submission),
        deadline=time.time() + 120,
    )
    async for event in trigger.run():
        assert event.payload["status"] == "ready", event


async def wait_by_session(submission: Submission) -> None:
    """Wait with a session for each trigger and the half-second loop of BFL's documentation."""
    async with aiohttp.ClientSession() as session:
        while True:
            await asyncio.sleep(0.5)
            async with session.get(str(submission.polling_url), headers={"x-key": KEY}) as response:
                if (await response.json())["status"] == "Ready":
                    return


async def wait_in_threads(submission: Submission) -> None:
    """Wait with requests in the default thread pool and the half-second loop."""
    while True:
        await asyncio.sleep(0.5)
        response = await asyncio.to_thread(
            requests.get, submission.polling_url, headers={"x-key": KEY}, timeout=30
        )
        if response.json()["status"] == "Ready":
            return


WAYS: dict[str, Waiter] = {
    "FluxResultTrigger": wait_by_trigger,
    "aiohttp session each, 0.5 s": wait_by_session,
    "requests in threads, 0.5 s": wait_in_threads,
}


async def measure(waiter: Waiter, submissions: list[Submission]) -> float:
    """Wait for all generations at once, and return the CPU seconds of the longest callback.

    :param waiter: waits for one generation.
    :param submissions: accepted submits.
    """
    longest = 0.0
    original = asyncio.events.Handle._run

    def run_timed(handle: asyncio.events.Handle) -> None:
        nonlocal longest
        # The time of this thread, because the emulator uses the same cores.
        started = time.thread_time()
        original(handle)
        longest = max(longest, time.thread_time() - started)

    asyncio.events.Handle._run = run_timed  # type: ignore[method-assign]
    try:
        await asyncio.gather(*(waiter(submission) for submission in submissions))
    finally:
        asyncio.events.Handle._run = original  # type: ignore[method-assign]
    return longest


def print_row(name: str, waiter: Waiter, count: int, emulator: Emulator) -> None:
    """Measure one way to wait, and print its row.

    :param name: name of the way.
    :param waiter: waits for one generation.
    :param count: generations to wait for.
    :param emulator: emulator to submit to.
    """
    emulator.reset()
    hook = FluxHook()
    with ThreadPoolExecutor(16) as pool:
        submissions = list(pool.map(hook.submit, [REQUEST] * count))
    gc.collect()
    gc.freeze()  # keep the collector from walking all of Airflow within a callback

    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    longest = asyncio.run(measure(waiter, submissions))
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    polls = emulator.read("stats")["polls"]
    print(
        f"{name:30}{wall:8.1f}{1000 * cpu / count:13.1f}{1000 * longest:13.1f}{polls / count:12.1f}"
    )


def main(count: int) -> None:
    """Measure each way to wait, one after the other.

    :param count: generations to wait for.
    """
    with run_emulator("--latency", str(LATENCY), "--max-active", "100000") as emulator:
        os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = emulator.connection
        print(f"{count} generations of {LATENCY:g} s at once")
        print(f"{'':30}{'wall s':>8}{'CPU ms each':>13}{'callback ms':>13}{'polls each':>12}")
        for name, waiter in WAYS.items():
            print_row(name, waiter, count, emulator)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
