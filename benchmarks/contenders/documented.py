"""Loop of BFL's documentation: submit, poll every half second, download."""

from __future__ import annotations

import time
from pathlib import Path

import requests

from benchmarks.emulator import KEY

POLL_SECONDS = 0.5
HEADERS = {"x-key": KEY}


def submit(session: requests.Session, url: str, prompt: str) -> str:
    """Submit a request, and return its polling URL."""
    body = {"prompt": prompt, "width": 1024, "height": 1024}
    answer = session.post(f"{url}/v1/flux-pro-1.1", json=body, headers=HEADERS, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["polling_url"])


def save(session: requests.Session, sample: str, path: Path) -> None:
    """Download an image to a file."""
    answer = session.get(sample, timeout=30)
    answer.raise_for_status()
    path.write_bytes(answer.content)


def generate(session: requests.Session, url: str, prompt: str, path: Path) -> None:
    """Make one image."""
    polling_url = submit(session, url, prompt)
    while True:
        time.sleep(POLL_SECONDS)
        answer = session.get(polling_url, headers=HEADERS, timeout=30).json()
        if answer["status"] == "Ready":
            return save(session, answer["result"]["sample"], path)
        if answer["status"] != "Pending":
            raise RuntimeError(answer["status"])


def generate_alone(url: str, prompt: str, path: str) -> None:
    """Make one image with a session of its own, as a mapped task does."""
    with requests.Session() as session:
        generate(session, url, prompt, Path(path))
