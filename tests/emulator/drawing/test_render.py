"""Images: size, format and determinism. Signed URLs: expiry, forgery and keys."""

from __future__ import annotations

import io
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from tests.emulator.conftest import Client, Start

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


def test_a_signed_url_has_the_shape_of_an_azure_signature(client: Client) -> None:
    query = parse_qs(urlsplit(client.sample()).query)
    assert {name: values[0] for name, values in query.items() if name not in {"se", "sig"}} == {
        "sp": "r",
        "sv": "2024-11-04",
        "sr": "b",
        "rsct": "image/jpeg",
    }
    assert query["se"][0].endswith("Z")


def test_an_expired_url_is_answered_403_and_a_poll_returns_a_fresh_one(start: Start) -> None:
    client = start(url_lifetime=0.2)
    task = client.submit()
    sample = client.wait(task)["result"]["sample"]
    assert client.get(sample).status_code == 200
    time.sleep(0.25)
    refused = client.get(sample)
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/xml")
    assert "<Code>AuthenticationFailed</Code>" in refused.text
    assert "not valid in the specified time frame" in refused.text
    assert client.get(client.wait(task)["result"]["sample"]).status_code == 200


def test_a_forged_url_is_answered_403(client: Client) -> None:
    sample = client.sample()
    for forged in (
        sample.partition("?")[0],
        sample.replace("se=20", "se=21"),
        sample[:-6] + "AAA%3D",
    ):
        refused = client.get(forged)
        assert refused.status_code == 403
        assert "Signature did not match" in refused.text


def test_an_unknown_result_is_answered_404(client: Client) -> None:
    assert "BlobNotFound" in client.get(f"{client.server.url}/results/nope/sample.jpeg").text


def test_a_download_with_an_api_key_is_counted(client: Client) -> None:
    sample = client.sample()
    client.get(sample)
    assert client.server.stats()["key_seen_on_delivery"] == 0
    client.get(sample, headers=client.headers)
    stats = client.server.stats()
    assert (stats["downloads"], stats["key_seen_on_delivery"]) == (2, 1)
