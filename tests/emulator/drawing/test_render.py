"""Images: size, format and determinism."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from tests.emulator.conftest import Client

SIZES = [
    ("flux-pro-1.1", {}, (1024, 768), "JPEG"),
    ("flux-pro-1.1", {"width": 256, "height": 1440, "output_format": "png"}, (256, 1440), "PNG"),
    ("flux-pro-1.1", {"output_format": "webp", "width": 320, "height": 256}, (320, 256), "WEBP"),
    ("flux-pro-1.1-ultra", {}, (2752, 1536), "JPEG"),
    ("flux-pro-1.1-ultra", {"aspect_ratio": "9:21"}, (1344, 3136), "JPEG"),
    ("flux-2-pro", {}, (1024, 1024), "JPEG"),
    ("flux-2-pro", {"width": 64, "height": 1008}, (64, 1008), "JPEG"),
    ("flux-kontext-pro", {}, (1024, 1024), "PNG"),
    ("flux-kontext-pro", {"output_format": None}, (1024, 1024), "PNG"),
    ("flux-kontext-pro", {"aspect_ratio": "16:9", "output_format": "jpeg"}, (1376, 768), "JPEG"),
]


@pytest.mark.parametrize(("model", "parameters", "size", "image_format"), SIZES)
def test_an_image_has_the_requested_size_and_format(
    client: Client, model: str, parameters: dict[str, Any], size: tuple[int, int], image_format: str
) -> None:
    answer = client.get(client.sample(model=model, **parameters))
    image = Image.open(io.BytesIO(answer.content))
    image.load()
    assert (image.size, image.format) == (size, image_format)
    assert answer.headers["content-type"] == f"image/{image_format.lower()}"


def test_a_jpeg_is_as_large_as_a_photograph(client: Client) -> None:
    assert 100_000 < len(client.image(width=1024, height=1024)) < 400_000


def test_only_equal_requests_give_equal_bytes(client: Client) -> None:
    first = client.image("a lighthouse", seed=7, width=256, height=256)
    assert client.image("a lighthouse", seed=7, width=256, height=256) == first
    assert client.image("[[fault:slow=0]] a lighthouse", seed=7, width=256, height=256) == first
    assert client.image("a lighthouse", seed=8, width=256, height=256) != first
    assert client.image("a lighthouse!", seed=7, width=256, height=256) != first
    assert client.image("a lighthouse", seed=7, width=256, height=256, safety_tolerance=1) != first


def test_a_prompt_of_any_length_or_script_is_drawn(client: Client) -> None:
    for prompt in ("", "w" * 5000, "word " * 5000, "東京の夜 🦊", "a\nb"):
        assert client.image(prompt, width=256, height=256)
