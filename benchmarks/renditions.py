"""CPU time of a rendition: this provider beside plain Pillow, in one run.

``python -m benchmarks.renditions [N]`` makes a thumbnail of 320 pixels of a JPEG of one megapixel N
times by each way, 40 times by default. The ways take turns, so that a busy machine slows all of
them alike. The figures are CPU milliseconds of the thread, which waits for nobody.

Two pictures are used, because the time of an encoder depends on the details: one as smooth as a
studio photograph, and one with grain.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable

from PIL import Image, ImageFilter

from airflow_provider_flux.landing.renditions import make_marked
from airflow_provider_flux.landing.target import LandingOptions
from airflow_provider_flux.media.rendition import make_rendition
from benchmarks.figures import check_at_most

SIZE = (1024, 1024)
WIDTH = 320
#: CPU milliseconds that a thumb may take.
LIMIT = 15.0
THUMB = LandingOptions().renditions["thumb"]


def picture(grain: int) -> bytes:
    """Return a JPEG of one megapixel.

    :param grain: strength of the noise over the smooth picture, 0 for none.
    """
    ramp = Image.linear_gradient("L").resize(SIZE)
    clouds = Image.effect_noise((64, 64), 90).resize(SIZE, Image.Resampling.BICUBIC)
    image = Image.merge("RGB", [ramp, clouds, ramp.rotate(90)])
    if grain:
        noise = Image.effect_noise(SIZE, grain).filter(ImageFilter.GaussianBlur(0.7))
        image = Image.blend(image, Image.merge("RGB", [noise] * 3), 0.3)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def thumb(data: bytes) -> bytes:
    """Return the thumb as an operator lands it: marked and inspected."""
    return make_marked(data, THUMB, model="flux-pro-1.1", request_id="r" * 36)[0]


def unmarked_thumb(data: bytes) -> bytes:
    """Return the thumb without its mark."""
    return make_rendition(data, THUMB)


def plain_pillow(data: bytes) -> bytes:
    """Return the thumbnail of plain Pillow, of all pixels: without draft decoding."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        image.thumbnail((WIDTH, WIDTH))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=80)
    return file.getvalue()


def pillow_with_draft(data: bytes) -> bytes:
    """Return the thumbnail of plain Pillow as it decodes by itself."""
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((WIDTH, WIDTH))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=80)
    return file.getvalue()


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "thumb of this provider, marked": thumb,
    "thumb of this provider, unmarked": unmarked_thumb,
    "Pillow thumbnail(), without draft": plain_pillow,
    "Pillow thumbnail()": pillow_with_draft,
}


def main(runs: int) -> bool:
    """Print a row for each way and picture.

    :param runs: thumbnails of each way.
    :return: whether the thumb stays below its limit.
    """
    is_met = True
    for name, grain in (("smooth", 0), ("grain", 120)):
        data = picture(grain)
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        sizes = {way: len(make(data)) for way, make in WAYS.items()}
        for _ in range(runs):
            for way, make in WAYS.items():
                began = time.thread_time()
                make(data)
                seconds[way].append(1000 * (time.thread_time() - began))
        print(f"\n{name} picture, jpeg of {len(data) // 1024} kB; CPU ms of {runs} runs")
        print(f"{'':36}{'median':>8}{'p95':>8}{'bytes':>8}")
        for way, figures in seconds.items():
            p95 = statistics.quantiles(figures, n=20)[-1]
            print(f"{way:36}{statistics.median(figures):8.1f}{p95:8.1f}{sizes[way]:8}")
        median = statistics.median(seconds["thumb of this provider, marked"])
        is_met &= check_at_most("CPU ms of a thumb", median, LIMIT, ".1f")
    return is_met


if __name__ == "__main__":
    sys.exit(not main(int(sys.argv[1]) if len(sys.argv) > 1 else 40))
