"""Faults of videos: damaged downloads, and the refusal without PyAV."""

from __future__ import annotations

import io
import sys

import av
import pytest
import requests

from airflow_provider_flux.bfl.catalog import MODELS
from tests.emulator.conftest import Client
from tests.support.emulator_media import (
    DecodedVideo,
    decode_image,
    encode_base64,
    encode_video,
    quarters_image,
)

TEXT_TO_VIDEO = {"model": "flux-3-video", "mode": "t2v"}
SIX = {**TEXT_TO_VIDEO, "duration": 6}


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_the_download_of_a_video_breaks_by_a_fault(client: Client, fault: str) -> None:
    sample = client.sample(f"x [[fault:{fault}]]", **SIX)
    with pytest.raises(
        (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)
    ):
        client.get(sample)
    assert DecodedVideo(client.get(sample).content).seconds == 6


def test_a_video_is_damaged_by_each_fault_of_delivery(client: Client) -> None:
    sample = client.sample(
        "x [[fault:cut]] [[fault:empty]] [[fault:html]] [[fault:damaged-video]]", **SIX
    )
    cut, empty, html, damaged, whole = (client.get(sample) for _ in range(5))
    assert cut.content == whole.content[: len(whole.content) // 2]
    assert empty.content == b""
    assert html.headers["content-type"].startswith("text/html")
    assert len(damaged.content) == len(whole.content)
    assert _frames(whole.content) == 48
    assert _frames(damaged.content) < 48


def _frames(content: bytes) -> int:
    """Return the number of frames that can be decoded."""
    count = 0
    with av.open(io.BytesIO(content)) as container:
        try:
            for _ in container.decode(video=0):
                count += 1
        except av.FFmpegError:
            return count
    return count


def test_a_video_has_another_size_or_format_by_a_fault(client: Client) -> None:
    assert DecodedVideo(client.image("x [[fault:wrong-size]]", **TEXT_TO_VIDEO)).size == (320, 180)
    moving = encode_base64(encode_video(quarters_image(), 0.5))
    answer = client.get(
        client.sample(
            "x [[fault:wrong-format]]", model="flux-3-video", mode="v2v", start_video=moving
        )
    )
    assert decode_image(answer.content).format == "JPEG"
    assert answer.headers["content-type"] == "video/mp4"


def test_without_pyav_videos_are_refused_and_images_are_drawn(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for model in MODELS.values():
        if model.output == "video":
            body = {"prompt": "x", "mode": "t2v", "video": "eA==", "input_video": "eA=="}
            known = {name: value for name, value in body.items() if name in model.fields}
            answer = client.post(model.name, json=known)
            assert answer.status_code == 400
            assert "pip install 'airflow-provider-flux[emulator]'" in answer.json()["detail"]
    assert client.server.stats()["submits"] == 0
    assert client.image(width=256, height=256)
