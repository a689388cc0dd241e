"""Drafts of videos: each has a cache, from which the full video can be made."""

from __future__ import annotations

import hashlib
import zlib
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.emulator.conftest import Client
from tests.support.emulator_media import (
    BLUE,
    DecodedVideo,
    InputServer,
    colour_distance,
    colours_of_quarters,
    encode_base64,
    encode_video,
    plain_image,
    quarters_image,
    shows_quarters,
)

PHOTO = quarters_image((320, 240))
MOVING = encode_base64(encode_video(PHOTO, 2.0))
TEXT_TO_VIDEO = {"model": "flux-3-video", "mode": "t2v"}


def test_a_draft_can_be_enhanced_from_its_cache(client: Client) -> None:
    keyframes = [encode_base64(PHOTO), encode_base64(plain_image(BLUE))]
    body = client.wait(
        client.submit(model="flux-3-video", mode="i2v", keyframes=keyframes, draft=True)
    )
    result = body["result"]
    assert body["cost"] == 30.0
    assert result["draft_caches"] == [result["draft_cache"]]
    assert parse_qs(urlsplit(result["draft_cache"]).query)["rsct"] == ["application/octet-stream"]
    cache = client.get(result["draft_cache"])
    assert cache.headers["content-type"] == "application/octet-stream"
    assert urlsplit(result["draft_cache"]).path.endswith(".bin")
    assert client.get(result["draft_cache"]).content == cache.content
    enhanced = {
        "model": "flux-3-video",
        "mode": "draft_enhance",
        "draft_cache": encode_base64(cache.content),
    }
    body = client.wait(client.submit(None, **enhanced))
    assert body["cost"] == 5 * 29
    assert (body["result"]["seed"], body["result"]["prompt"]) == (result["seed"], result["prompt"])
    clip = DecodedVideo(client.get(body["result"]["sample"]).content)
    assert (clip.size, clip.seconds) == ((832, 624), 5.0)
    assert shows_quarters(clip.frames[0], 25)
    by_url = {**enhanced, "draft_cache": result["draft_cache"]}
    assert (
        DecodedVideo(client.image(None, **by_url)).frames[0].tobytes() == clip.frames[0].tobytes()
    )
    assert DecodedVideo(client.image(None, **enhanced, resolution="hd")).size == (554, 416)


def test_the_enhancement_of_a_draft_shows_the_same_video(client: Client) -> None:
    for request in (TEXT_TO_VIDEO, {"model": "flux-3-video", "mode": "v2v", "start_video": MOVING}):
        result = client.wait(client.submit(**request, draft=True))["result"]
        draft = DecodedVideo(client.get(result["sample"]).content)
        cache = encode_base64(client.get(result["draft_cache"]).content)
        enhanced = DecodedVideo(
            client.image(None, model="flux-3-video", mode="draft_enhance", draft_cache=cache)
        )
        for seconds in (0, 4):
            pairs = zip(
                *(colours_of_quarters(shown.at(seconds)) for shown in (draft, enhanced)),
                strict=True,
            )
            assert max(colour_distance(*pair) for pair in pairs) < 15


def test_a_video_that_is_no_draft_has_no_cache(client: Client) -> None:
    result = client.wait(client.submit(**TEXT_TO_VIDEO))["result"]
    assert not {name for name in result if "draft" in name}
    assert client.get(result["sample"].replace("sample.mp4", "draft_cache.bin")).status_code == 404


@pytest.mark.parametrize(
    "content", ["aGVsbG8=", "", "not base64", encode_base64(plain_image()), "url"]
)
def test_a_file_that_is_no_draft_cache_ends_the_task_with_an_error(
    client: Client, shelf: InputServer, content: str
) -> None:
    text = shelf.put(b"FLUXDRAFT1" + bytes(40)) if content == "url" else content
    task = client.submit(None, "flux-3-video", mode="draft_enhance", draft_cache=text)
    body = client.wait(task)
    assert (body["status"], body["details"]) == (
        "Error",
        {"error": "Invalid or corrupted draft cache"},
    )
    assert client.get(task["polling_url"]).status_code == 422
    assert client.credits() == 1000


def test_a_damaged_draft_cache_ends_the_task_with_an_error(client: Client) -> None:
    result = client.wait(client.submit(**TEXT_TO_VIDEO, draft=True))["result"]
    cache = client.get(result["draft_cache"]).content
    task = client.submit(
        None, "flux-3-video", mode="draft_enhance", draft_cache=encode_base64(cache[:-1] + b"x")
    )
    assert client.wait(task)["details"] == {"error": "Invalid or corrupted draft cache"}


def test_a_forged_draft_cache_ends_the_task_with_an_error(client: Client) -> None:
    for packed in (
        b"not packed",
        zlib.compress(b"{}"),
        zlib.compress(b"[]"),
        zlib.compress(b"no JSON"),
    ):
        forged = b"FLUXDRAFT1" + hashlib.sha256(packed).digest() + packed
        task = client.submit(
            None, "flux-3-video", mode="draft_enhance", draft_cache=encode_base64(forged)
        )
        assert client.wait(task)["details"] == {"error": "Invalid or corrupted draft cache"}
