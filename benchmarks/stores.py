"""Many images landed at once from one event loop, compared with ``write_bytes`` in a thread pool.

``python -m benchmarks.stores [N] [STORE...]`` writes N images of 1.5 MiB (200 by default) to each
store, 32 at a time. For each way of writing it prints wall-clock time, CPU time per image, peak
memory above that of a process which has written one image, and the longest time for which the event
loop could not run. Stores are ``file``, ``s3``, ``gs``, ``abfs``, and ``s3-slow``, which answers
after 250 ms, like a real one. The servers are real ones on loopback, in processes of their own.
Each way runs in a fresh process.

The benchmark freezes all imported objects: Airflow imports the packages of all stores, and one full
garbage collection over them takes 0.2 s at a random moment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support.cutting_proxy import CuttingProxy
from tests.support.object_stores import (
    AzureStore,
    GcsStore,
    S3Store,
    azure_server,
    gcs_server,
    s3_server,
)

AT_ONCE = 32
SIZE = 1536 * 1024
Lander = Callable[[int], Awaitable[None]]


def image() -> bytes:
    """Return a PNG of exactly that size: noise, and a chunk that fills it up."""
    import io
    import struct
    import zlib

    from PIL import Image

    picture = Image.frombytes("RGB", (640, 640), os.urandom(640 * 640 * 3))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=0)
    data = file.getvalue()
    filling = b"teXt" + os.urandom(SIZE - len(data) - 12)
    chunk = struct.pack(">I", len(filling) - 4) + filling + struct.pack(">I", zlib.crc32(filling))
    return data[:-12] + chunk + data[-12:]


def usual(root: str, data: bytes) -> Lander:
    """Write by write_bytes in asyncio's default thread pool, as most code does."""
    from airflow.sdk import ObjectStoragePath

    async def write(index: int) -> None:
        await asyncio.to_thread(ObjectStoragePath(f"{root}/usual-{index}.png").write_bytes, data)

    return write


def put(root: str, data: bytes) -> Lander:
    """Write by the put of the provider: content type, metadata, one request."""
    from airflow_provider_flux.object_store import objects
    from airflow_provider_flux.object_store.backends import WriteOptions
    from airflow_provider_flux.object_store.filesystem import run_async

    write_options = WriteOptions("image/png", metadata={"model": "flux-pro-1.1"})

    async def write(index: int) -> None:
        await run_async(objects.put(f"{root}/put-{index}.png", data, write_options))

    return write


def land(root: str, data: bytes) -> Lander:
    """Land the image: check and hash the bytes, put the image, put its sidecar."""
    from airflow_provider_flux.generation_input import parse_generation
    from airflow_provider_flux.landing.download import VerifiedResult, inspect_result
    from airflow_provider_flux.landing.plan import LandingPlan
    from airflow_provider_flux.landing.target import LandingOptions, Target
    from airflow_provider_flux.landing.write import write_result
    from airflow_provider_flux.object_store.filesystem import run_async

    generation = parse_generation({"request_id": "r", "model": "flux-pro-1.1"})

    async def write(index: int) -> None:
        info = await asyncio.to_thread(inspect_result, data, "flux-pro-1.1")
        options = LandingOptions(renditions={})
        target = Target(path=f"{root}/land-{{index}}.png", index=index, options=options)
        plan = LandingPlan(target=target)
        await run_async(write_result(VerifiedResult(data, info), generation, plan))

    return write


WAYS: dict[str, Callable[[str, bytes], Lander]] = {
    "write_bytes, default pool": usual,
    "put": put,
    "landing": land,
}


async def measure(lander: Lander, count: int) -> float:
    """Land the images, and return the longest time for which the loop did not run."""
    longest, done = 0.0, False
    room = asyncio.Semaphore(AT_ONCE)

    async def tick() -> None:
        nonlocal longest
        while not done:
            started = time.perf_counter()
            await asyncio.sleep(0.002)
            longest = max(longest, time.perf_counter() - started - 0.002)

    async def one(index: int) -> None:
        async with room:
            await lander(index)

    ticker = asyncio.create_task(tick())
    await asyncio.gather(*map(one, range(count)))
    done = True
    await ticker
    return longest


def child(way: str, root: str, count: int) -> None:
    """Run one way in this process, and print its measurements."""
    import logging

    from airflow_provider_flux.object_store.filesystem import open_path

    logging.disable(logging.INFO)
    open_path(f"{root}/x")
    lander = WAYS[way](root, image())
    asyncio.run(measure(lander, 1))  # the first one imports and connects
    gc.collect()
    gc.freeze()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    lag = asyncio.run(measure(lander, count))
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([wall, cpu / count, (after.ru_maxrss - before.ru_maxrss) / 1024, lag]))


@contextmanager
def stores(names: list[str]) -> Iterator[dict[str, str]]:
    """Start the servers, define the connections; yield the root of each store."""
    with ExitStack() as stack:
        roots = {}
        if "file" in names:
            roots["file"] = f"file://{stack.enter_context(tempfile.TemporaryDirectory())}"
        kinds = {
            "s3": (S3Store, s3_server),
            "gs": (GcsStore, gcs_server),
            "abfs": (AzureStore, azure_server),
        }
        for name in [name for name in names if name != "file"]:
            kind, server = kinds[name.partition("-")[0]]
            url = stack.enter_context(server())
            store = kind(url)  # type: ignore[abstract]
            store.make_bucket()
            if name.endswith("-slow"):
                proxy = stack.enter_context(CuttingProxy(url))
                proxy.delay, url = 0.25, proxy.url
            conn_id = f"bench_{name.replace('-', '_')}"
            os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = kind.connection(url)
            roots[name] = store.root_by(conn_id)
        yield roots


def main(count: int, names: list[str]) -> None:
    """Print the table."""
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    print(f"{count} images of {SIZE / 2**20:g} MiB, {AT_ONCE} at once, from one event loop\n")
    columns = f"{'wall s':>7} {'CPU ms each':>12} {'memory MiB':>11} {'loop lag ms':>12}"
    print(f"{'store':8} {'way':26} {columns}")
    with stores(names) as roots, tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        for name, root in roots.items():
            for way in WAYS:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.stores",
                    "--child",
                    way,
                    root,
                    str(count),
                ]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                wall, cpu, memory, lag = json.loads(output.stdout.splitlines()[-1])
                values = f"{wall:7.2f} {cpu * 1e3:12.1f} {memory:+11.0f} {lag * 1e3:12.0f}"
                print(f"{name:8} {way:26} {values}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        chosen = sys.argv[2:] or ["file", "s3", "s3-slow", "gs", "abfs"]
        main(int(sys.argv[1]) if sys.argv[1:] else 200, chosen)
