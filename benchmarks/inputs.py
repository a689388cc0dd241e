"""Memory and time that a worker needs to send a large input image to BFL.

``python -m benchmarks.inputs [MIB]`` compares the hook with the usual code. For each way and source
it prints the growth of the peak memory over a process that sends no input, CPU and wall-clock time.
S3 is a server on loopback. The requests go to a server that discards them.
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
RESPONSE = json.dumps({"id": "x", "polling_url": "http://127.0.0.1/v1/get_result?id=x"}).encode()


def send_by_hook(uri: str) -> None:
    """Send the input with the hook, which streams it from a temporary file."""
    from airflow_provider_flux.hooks.flux import FluxHook

    hook = FluxHook()
    parameters = {"prompt": "a benchmark", **({"input_image": uri} if uri else {})}
    hook.submit(hook.build_request("flux-2-pro", parameters))


def send_as_usual(uri: str) -> None:
    """Read the input, encode it, and post it in a dict."""
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_flux.hooks.flux import FluxHook

    body = {"prompt": "a benchmark"}
    if uri:
        body["input_image"] = base64.b64encode(ObjectStoragePath(uri).read_bytes()).decode()
    settings = FluxHook().settings
    requests.post(
        f"{settings.base_url}/v1/flux-2-pro", json=body, headers={"x-key": KEY}, timeout=60
    )


WAYS: dict[str, Callable[[str], None]] = {
    "FluxHook": send_by_hook,
    "read_bytes, b64encode, json=": send_as_usual,
}


def run_way(way: str, uri: str) -> None:
    """Run one way in this process, and print its peak memory in bytes and its seconds as JSON.

    :param way: name of the way.
    :param uri: URI of the input.
    """
    if uri.startswith("s3://"):  # imports the packages of the store before the measurement
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
    """Run one way in a process of its own.

    :param way: name of the way.
    :param uri: URI of the input.
    :return: MiB of additional peak memory, CPU seconds and wall-clock seconds.
    """
    command = [sys.executable, "-m", "benchmarks.inputs", "--child", way, uri]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, peak_before, cpu, wall = json.loads(process.stdout.splitlines()[-1])
    return (peak - peak_before) / 2**20, cpu, wall


class Sink(BaseHTTPRequestHandler):
    """Accepts every request and discards its body."""

    def do_POST(self) -> None:
        """Read the body in pieces, and answer that the request was accepted."""
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(RESPONSE)))
        self.end_headers()
        self.wfile.write(RESPONSE)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def write_image(mib: float, path: Path) -> None:
    """Write a JPEG of a given size: a picture with random bytes after it.

    :param mib: size in MiB.
    :param path: file to write.
    """
    from PIL import Image

    Image.effect_noise((2048, 2048), 80).convert("RGB").save(path, "jpeg", quality=90)
    with path.open("ab") as file:
        file.write(os.urandom(int(mib * 2**20) - path.stat().st_size))


def main(mib: float) -> None:
    """Measure each way from a local file and from S3.

    :param mib: size of the image in MiB.
    """
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
        write_image(mib, image)
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
        run_way(sys.argv[2], sys.argv[3])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 19.9)
