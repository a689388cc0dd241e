"""A pool of threads that run the documented loop, without Airflow.

``python -m benchmarks.contenders.pool URL FOLDER N [THREADS]`` makes N images, and prints CPU and
memory as JSON.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import requests

from benchmarks.contenders.documented import generate
from benchmarks.usage import own_cpu, own_peak

THREADS = 24


def main(url: str, folder: str, count: int, threads: int = THREADS) -> None:
    """Make the images, and print CPU and memory.

    :param url: base URL of the API.
    :param folder: folder for the images.
    :param count: images to make.
    :param threads: threads of the pool.
    """
    thread = local()

    def make_image(number: int) -> None:
        if not hasattr(thread, "session"):
            thread.session = requests.Session()
        generate(thread.session, url, f"pool {number}", Path(folder) / f"{number}.jpg")

    cpu_before = own_cpu()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(make_image, range(count)))
    print(json.dumps({"cpu": own_cpu() - cpu_before, "cpu_whole": own_cpu(), "peak": own_peak()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
