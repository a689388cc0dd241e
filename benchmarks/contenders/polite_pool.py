"""A pool of threads per client, which waits after a 429 and submits again, without Airflow.

``python -m benchmarks.contenders.polite_pool URL FOLDER NAME N`` makes N images whose prompts begin
with NAME. It is what most scripts do: as many threads as BFL allows, and growing random pauses
(0.5 to 8 seconds) after a 429.
"""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import requests

from benchmarks.contenders.documented import generate
from benchmarks.contenders.pool import THREADS

_TOO_MANY = 429
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 8.0


def next_pause(refusals: int, rng: random.Random) -> float:
    """Return the seconds to wait after a number of refusals in a row.

    :param refusals: refusals so far, 1 or more.
    :param rng: source of random numbers.
    """
    return min(_FIRST_PAUSE * 2.0 ** (refusals - 1), _LONGEST_PAUSE) * rng.uniform(0.5, 1.0)


def main(url: str, folder: str, name: str, count: int) -> None:
    """Make the images.

    :param url: base URL of the API.
    :param folder: folder for the images.
    :param name: beginning of the prompts.
    :param count: images to make.
    """
    thread, rng = local(), random.Random(name)

    def make_image(number: int) -> None:
        if not hasattr(thread, "session"):
            thread.session = requests.Session()
        refusals = 0
        while True:
            try:
                path = Path(folder) / f"{number}.jpg"
                return generate(thread.session, url, f"{name} {number}", path)
            except requests.HTTPError as error:
                if error.response.status_code != _TOO_MANY:
                    raise
            refusals += 1
            time.sleep(next_pause(refusals, rng))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(make_image, range(count)))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
