"""A large input image on its way to BFL: peak memory of the worker, ours beside what is usually written.

``python -m benchmarks.inputs [MIB]`` prints, for each way and source, by how much the peak memory of a
fresh process grows over that of one that sends no input, CPU and wall-clock time. S3 is a real server
on loopback; what the requests go to is a server that reads and forgets them.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

KEY = "bfl_benchmark_key"
ANSWER = json.dumps({"id": "x", "polling_url": "http://127.0.0.1/v1/get_result?id=x"}).encode()


def ours(uri: str) -> None:
    """FluxHook: the input goes into a file, and from there in pieces into the request."""
    from airflow_provider_flux.hooks.flux import FluxHook

    hook = FluxHook()
    parameters = {"prompt": "a benchmark", **({"input_image": uri} if uri else {})}
    hook.submit(hook.build_request("flux-2-pro", parameters))


def usual(uri: str) -> None:
    """Read it, encode it, put it into a dict, post the dict."""
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_flux.hooks.flux import FluxHook

    body = {"prompt": "a benchmark"}
    if uri:
        body["input_image"] = base64.b64encode(ObjectStoragePath(uri).read_bytes()).decode()
    settings = FluxHook().settings
    requests.post(
        f"{settings.base_url}/v1/flux-2-pro", json=body, headers={"x-key": KEY}, timeout=60
    )


WAYS: dict[str, Callable[[str], None]] = {"FluxHook": ours, "read_bytes, b64encode, json=": usual}


def child(way: str, uri: str) -> None:
    """Run one way in this process, and print its peak memory in bytes, its CPU and wall-clock seconds."""
    if uri.startswith("s3://"):  # the store's own packages are no cost of the input
        from airflow.sdk import ObjectStoragePath

        ObjectStoragePath(uri).exists()
    WAYS[way]("")
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if uri:
        WAYS[way](uri)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        json.dumps(
            [after.ru_maxrss * 1024, before.ru_maxrss * 1024, cpu, time.perf_counter() - started]
        )
    )


def measure(way: str, uri: str) -> tuple[float, float, float]:
    """Return MiB of additional peak memory, CPU and wall-clock seconds."""
    command = [sys.executable, "-m", "benchmarks.inputs", "--child", way, uri]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, before, cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return (peak - before) / 2**20, cpu, wall


class Sink(BaseHTTPRequestHandler):
    """Reads requests and answers that a task was made."""

    def do_POST(self) -> None:
        """Read the body in pieces and forget it."""
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def image_of(mib: float, path: Path) -> None:
    """Write a JPEG of a size: a picture, and what a camera's maker adds after it."""
    from PIL import Image

    Image.effect_noise((2048, 2048), 80).convert("RGB").save(path, "jpeg", quality=90)
    with path.open("ab") as file:
        file.write(os.urandom(int(mib * 2**20) - path.stat().st_size))


def main(mib: float) -> None:
    """Measure each way from a local file and from S3."""
    from moto.server import ThreadedMotoServer

    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    endpoint = "http://{}:{}".format(*store.get_host_and_port())
    os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(
        {"conn_type": "flux", "password": KEY, "host": f"http://127.0.0.1:{sink.server_port}"}
    )
    os.environ["AIRFLOW_CONN_MY_S3"] = json.dumps(
        {
            "conn_type": "aws",
            "login": "x",
            "password": "x",
            "extra": {"endpoint_url": endpoint, "region_name": "us-east-1"},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.jpeg"
        image_of(mib, image)
        requests.put(f"{endpoint}/media", timeout=10)
        with image.open("rb") as file:
            requests.put(f"{endpoint}/media/image.jpeg", data=file, timeout=60)
        print(f"an input image of {image.stat().st_size / 2**20:.1f} MiB, sent to flux-2-pro")
        print(f"{'':32}{'source':10}{'peak MiB':>10}{'CPU s':>8}{'wall s':>8}")
        for source, uri in (("file", f"file://{image}"), ("s3", "s3://my_s3@media/image.jpeg")):
            for way in WAYS:
                peak, cpu, wall = measure(way, uri)
                print(f"{way:32}{source:10}{peak:10.1f}{cpu:8.2f}{wall:8.2f}")
    sink.shutdown()
    store.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 19.9)
