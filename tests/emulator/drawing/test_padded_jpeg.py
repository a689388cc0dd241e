"""JPEG files of a requested size for load tests."""

from __future__ import annotations

import io
import time

from PIL import Image

from airflow_provider_flux.emulator.drawing.padded_jpeg import encode_padded_jpeg
from airflow_provider_flux.emulator.drawing.picture import Picture
from tests.emulator.conftest import Start

JPEG_BYTES = 450_000


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_a_padded_jpeg_is_whole_and_has_the_requested_bytes_and_pixels(start: Start) -> None:
    client = start(image_bytes=JPEG_BYTES)
    data = client.image("a fox", seed=1, width=1024, height=1024)
    image = _decoded(data)
    assert (len(data), image.size, image.format) == (JPEG_BYTES, (1024, 1024), "JPEG")
    assert b"seed 1: a fox" in data[:1000]
    assert data[:4] == b"\xff\xd8\xff\xe0"


def test_only_equal_pictures_have_equal_padded_jpegs(start: Start) -> None:
    client = start(image_bytes=JPEG_BYTES)

    def image(prompt: str, **parameters: int) -> bytes:
        return client.image(prompt, **{"seed": 1, "width": 256, "height": 256, **parameters})

    first = image("fox")
    assert image("fox") == image("[[fault:slow=0]] fox") == first
    others = [
        image("fox!"),
        image("fox", seed=2),
        image("fox", safety_tolerance=1),
        image("x" * 5000),
    ]
    assert len({first, *others, image("x" * 5000 + "y"), image("東京の夜 🦊")}) == 7


def test_image_bytes_leaves_png_alone_and_allows_other_sizes(start: Start) -> None:
    client = start(image_bytes=JPEG_BYTES)
    png = client.image("fox", output_format="png", width=256, height=256)
    assert _decoded(png).format == "PNG"
    assert len(png) < JPEG_BYTES
    wrong = client.image("[[fault:wrong-size]]", width=512, height=512)
    assert _decoded(wrong).size == (256, 256)


def test_too_few_image_bytes_give_the_smallest_jpeg() -> None:
    picture = Picture("m", "p", 1, 256, 256, "jpeg", b"digest")
    assert 500 < len(encode_padded_jpeg(picture, 600)) < 5000
    assert _decoded(encode_padded_jpeg(picture, 600)).size == (256, 256)


def test_a_padded_jpeg_takes_less_than_two_milliseconds_of_cpu() -> None:
    pictures = [Picture("m", f"p {n}", n, 1024, 1024, "jpeg", b"digest") for n in range(101)]
    encode_padded_jpeg(pictures[0], JPEG_BYTES)
    begun = time.thread_time()
    files = {encode_padded_jpeg(picture, JPEG_BYTES) for picture in pictures[1:]}
    assert len(files) == 100
    assert (time.thread_time() - begun) / 100 < 0.002
