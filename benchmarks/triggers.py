"""Many generations waited for on one event loop: our trigger beside what is usually written.

``python -m benchmarks.triggers [N]`` prints, for each way of waiting, wall-clock time, CPU per
generation, CPU of the longest callback of the loop, and polls. The emulator is a process of its
own; the images take 8 s.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import resource
import subprocess
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

KEY = "bfl_benchmark_key"
LATENCY = 8.0
REQUEST = build_request("flux-pro-1.1", {"prompt": "a benchmark"})
Waiter = Callable[[Submission], Awaitable[None]]


async def our_trigger(submission: Submission) -> None:
    """The provider's trigger: shared session, polls in proportion to the time waited."""
    trigger = FluxResultTrigger(
        flux_conn_id="flux_default",
        generation=new_generation(REQUEST, submission),
        deadline=time.time() + 120,
    )
    async for event in trigger.run():
        assert event.payload["status"] == "ready", event


async def session_each(submission: Submission) -> None:
    """A session for each trigger, and the half-second loop of the service's documentation."""
    async with aiohttp.ClientSession() as session:
        while True:
            await asyncio.sleep(0.5)
            async with session.get(str(submission.polling_url), headers={"x-key": KEY}) as answer:
                if (await answer.json())["status"] == "Ready":
                    return


async def threads(submission: Submission) -> None:
    """requests in the default thread pool, and the half-second loop."""
    while True:
        await asyncio.sleep(0.5)
        answer = await asyncio.to_thread(
            requests.get, submission.polling_url, headers={"x-key": KEY}, timeout=30
        )
        if answer.json()["status"] == "Ready":
            return


WAYS: dict[str, Waiter] = {
    "FluxResultTrigger": our_trigger,
    "aiohttp session each, 0.5 s": session_each,
    "requests in threads, 0.5 s": threads,
}


async def measure(waiter: Waiter, submissions: list[Submission]) -> float:
    """Wait for all at once, and return the CPU seconds of the longest callback."""
    longest = 0.0
    original = asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        nonlocal longest
        started = (
            time.thread_time()
        )  # the emulator shares the cores: its share is not the callback's
        original(handle)
        longest = max(longest, time.thread_time() - started)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign]
    try:
        await asyncio.gather(*(waiter(submission) for submission in submissions))
    finally:
        asyncio.events.Handle._run = original  # type: ignore[method-assign]
    return longest


def main(count: int) -> None:
    """Measure each way of waiting, one after the other."""
    command = [
        sys.executable,
        "-m",
        "airflow_provider_flux.emulator",
        "--port",
        "0",
        "--latency",
        str(LATENCY),
    ]
    command += ["--max-active", "100000", "--credits", "10000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
        try:
            assert emulator.stdout is not None
            found = re.search(r"http://\S+", emulator.stdout.readline())
            assert found is not None
            url = found[0]
            connection = {"conn_type": "flux", "password": KEY, "host": url}
            os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(connection)
            print(f"{count} generations of {LATENCY:g} s at once")
            print(f"{'':30}{'wall s':>8}{'CPU ms each':>13}{'callback ms':>13}{'polls each':>12}")
            for name, waiter in WAYS.items():
                report(name, waiter, count, url)
        finally:
            emulator.terminate()


def report(name: str, waiter: Waiter, count: int, url: str) -> None:
    """Measure one way, and print its row."""
    requests.post(f"{url}/_emulator/reset", timeout=10)
    hook = FluxHook()
    with ThreadPoolExecutor(16) as pool:
        submissions = list(pool.map(hook.submit, [REQUEST] * count))
    gc.collect()
    gc.freeze()  # a collector walking all of Airflow is not a callback's doing
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    longest = asyncio.run(measure(waiter, submissions))
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    polls = requests.get(f"{url}/_emulator/stats", timeout=10).json()["polls"]
    print(
        f"{name:30}{wall:8.1f}{1000 * cpu / count:13.1f}{1000 * longest:13.1f}{polls / count:12.1f}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
