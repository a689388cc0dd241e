"""The leanest loop that lands an image: download, hash, check of the header, durable write.

``python -m benchmarks.contenders.floor URL FOLDER N`` generates one image, downloads it N times on
one connection, and prints the CPU seconds of that as JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import requests
from PIL import Image

from benchmarks.contenders.documented import HEADERS, submit
from benchmarks.usage import own_cpu


def main(url: str, folder: str, count: int) -> None:
    """Download and write the image.

    :param url: base URL of the API.
    :param folder: folder for the images.
    :param count: downloads.
    """
    parts = urlsplit(_generate(url))
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port)
    cpu_before = own_cpu()
    for number in range(count):
        connection.request("GET", f"{parts.path}?{parts.query}")
        data = connection.getresponse().read()
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (1024, 1024)
        hashlib.sha256(data).hexdigest()
        write(Path(folder) / f"{number}.jpg", data)
    print(json.dumps({"cpu": own_cpu() - cpu_before}))


def write(path: Path, data: bytes) -> None:
    """Write a file durably: under a hidden name, which it changes in one step."""
    hidden = path.with_suffix(".tmp")
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(hidden, path)


def _generate(url: str) -> str:
    """Return the signed URL of a new image."""
    with requests.Session() as session:
        polling_url = submit(session, url, "floor")
        while True:
            time.sleep(0.5)
            answer = session.get(polling_url, headers=HEADERS, timeout=30).json()
            if answer["status"] == "Ready":
                return str(answer["result"]["sample"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
