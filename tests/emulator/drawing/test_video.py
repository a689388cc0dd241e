"""Videos: they play, have the requested size and length, and show their inputs."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator.drawing.picture import compose_picture
from airflow_provider_flux.emulator.drawing.render import render
from tests.emulator.conftest import Client
from tests.support.emulator_media import (
    BLUE,
    GREEN,
    RED,
    DecodedVideo,
    InputServer,
    colour_distance,
    encode_base64,
    encode_video,
    mean_colour,
    plain_image,
    quarters_image,
    shows_quarters,
)

SIZE = (320, 240)
PHOTO = quarters_image(SIZE)
MOVING = encode_base64(encode_video(PHOTO, 2.0))
TEXT_TO_VIDEO = {"model": "flux-3-video", "mode": "t2v"}


def test_a_video_is_an_mp4_that_plays_while_it_is_loaded(client: Client) -> None:
    sample = client.sample(**TEXT_TO_VIDEO)
    answer = client.get(sample)
    clip = DecodedVideo(answer.content)
    assert (clip.codec, clip.pixels) == ("h264", "yuv420p")
    assert clip.content.find(b"moov") < clip.content.find(b"mdat")
    assert (clip.size, clip.seconds, len(clip.frames)) == ((640, 360), 5.0, 40)
    assert answer.headers["content-type"] == "video/mp4"
    assert urlsplit(sample).path.endswith("/sample.mp4")
    assert parse_qs(urlsplit(sample).query)["rsct"] == ["video/mp4"]


@pytest.mark.parametrize(
    ("parameters", "size", "seconds"),
    [
        ({"resolution": "fhd", "duration": 7}, (960, 540), 7.0),
        ({"aspect_ratio": "9:16"}, (360, 640), 5.0),
        ({"aspect_ratio": "1:1"}, (480, 480), 5.0),
        ({"aspect_ratio": "21:9", "resolution": "qhd"}, (1466, 628), 5.0),
        ({"draft": True, "resolution": "qhd"}, (320, 180), 5.0),
    ],
)
def test_a_video_has_the_requested_size_and_length(
    client: Client, parameters: dict[str, Any], size: tuple[int, int], seconds: float
) -> None:
    clip = DecodedVideo(client.image(**TEXT_TO_VIDEO, **parameters))
    assert (clip.size, clip.seconds) == (size, seconds)


def test_a_video_of_five_seconds_takes_less_than_one_second_of_cpu(client: Client) -> None:
    sample = client.sample(**TEXT_TO_VIDEO)
    begun = time.process_time()
    client.get(sample)
    assert time.process_time() - begun < 1


def test_a_video_from_text_moves(client: Client) -> None:
    clip = DecodedVideo(client.image(**TEXT_TO_VIDEO))
    first, last = (
        mean_colour(frame, (0, 0, 200, 200)) for frame in (clip.frames[0], clip.frames[-1])
    )
    assert colour_distance(first, last) > 5


def test_a_video_begins_with_its_only_keyframe(client: Client) -> None:
    for keyframes in (
        encode_base64(PHOTO),
        [encode_base64(PHOTO)],
        [0, encode_base64(PHOTO)],
        [[0, encode_base64(PHOTO)]],
    ):
        clip = DecodedVideo(client.image(model="flux-3-video", mode="i2v", keyframes=keyframes))
        assert (clip.size, clip.seconds) == ((554, 416), 5.0)
        assert shows_quarters(clip.frames[0], 25)


def test_keyframes_are_seen_at_their_times(client: Client) -> None:
    keyframes = [
        [1, encode_base64(plain_image(RED))],
        [2.5, encode_base64(plain_image(GREEN))],
        [6, encode_base64(plain_image(BLUE))],
    ]
    clip = DecodedVideo(client.image(model="flux-3-video", mode="i2v", keyframes=keyframes))
    assert clip.seconds == 6.0
    for seconds, colour in ((1, RED), (2.5, GREEN), (6, BLUE)):
        assert colour_distance(mean_colour(clip.at(seconds), (0, 0, 500, 300)), colour) < 25
    assert colour_distance(mean_colour(clip.at(0), (0, 0, 500, 300)), RED) > 25
    between = mean_colour(clip.at(1.75), (0, 0, 500, 300))
    assert 60 < between[0] < 160  # half red
    assert 60 < between[1] < 160  # half green


def test_keyframes_without_times_are_spread_over_the_video(client: Client) -> None:
    keyframes = [encode_base64(plain_image(colour)) for colour in (RED, GREEN, BLUE)]
    clip = DecodedVideo(
        client.image(model="flux-3-video", mode="i2v", keyframes=keyframes, duration=8)
    )
    for seconds, colour in ((0, RED), (4, GREEN), (8, BLUE)):
        assert colour_distance(mean_colour(clip.at(seconds), (0, 0, 500, 300)), colour) < 25


def test_times_that_are_not_finite_are_ignored(client: Client) -> None:
    photo = encode_base64(PHOTO)
    keyframes = f'[[NaN, "{photo}"], [-7, "{photo}"]]'
    strange = f'{{"mode": "i2v", "prompt": "x", "keyframes": {keyframes}}}'
    headers = {**client.headers, "content-type": "application/json"}
    task = client.post("flux-3-video", data=strange, headers=headers).json()
    clip = DecodedVideo(client.get(client.wait(task)["result"]["sample"]).content)
    assert (clip.seconds, shows_quarters(clip.frames[0], 25)) == (5.0, True)
    endless = [[10**400, encode_base64(PHOTO)]]
    assert (
        DecodedVideo(client.image(model="flux-3-video", mode="i2v", keyframes=endless)).seconds
        == 5.0
    )


def test_a_video_from_a_video_begins_with_its_first_frame(client: Client) -> None:
    clip = DecodedVideo(
        client.image(model="flux-3-video", mode="v2v", start_video=MOVING, duration=6)
    )
    assert (clip.size, clip.seconds) == ((554, 416), 6.0)
    assert shows_quarters(clip.frames[0], 25)
    assert not shows_quarters(clip.frames[-1], 25)


def test_an_edited_video_keeps_size_and_length(client: Client) -> None:
    clip = DecodedVideo(client.image(model="flux-tools/video-edit-v1", video=MOVING))
    assert (clip.size, clip.seconds) == (SIZE, 2.0)
    assert shows_quarters(clip.frames[0], 60)
    assert not shows_quarters(clip.frames[0], 5)


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        (SIZE, {}, (640, 480)),
        (SIZE, {"upscale_factor": 1.5}, (480, 360)),
        ((322, 242), {"upscale_factor": 2.75}, (886, 666)),
        ((1280, 720), {"upscale_factor": 3}, (1920, 1080)),
    ],
)
def test_an_upscaled_video_is_larger_and_keeps_its_length(
    client: Client, size: tuple[int, int], factor: dict[str, float], expected: tuple[int, int]
) -> None:
    clip = DecodedVideo(
        client.image(
            None,
            model="flux-tools/video-upscale-v1",
            input_video=encode_base64(encode_video(quarters_image(size))),
            **factor,
        )
    )
    assert (clip.size, clip.seconds) == (expected, 1.0)
    assert shows_quarters(clip.frames[0], 20)


def test_an_upscaled_video_has_at_most_twenty_seconds(client: Client) -> None:
    long = encode_base64(encode_video(PHOTO, 24, rate=2))
    assert (
        DecodedVideo(
            client.image(None, model="flux-tools/video-upscale-v1", input_video=long)
        ).seconds
        == 20
    )


# Costs


@pytest.mark.parametrize(
    ("parameters", "cost"),
    [
        (TEXT_TO_VIDEO, 85.0),
        ({**TEXT_TO_VIDEO, "resolution": "uhd", "duration": 10}, 800.0),
        ({**TEXT_TO_VIDEO, "draft": True}, 30.0),
        ({"model": "flux-3-video", "mode": "v2v", "start_video": MOVING}, 205.0),
        ({"model": "flux-tools/video-edit-v1", "video": MOVING}, 6.0),
        ({"model": "flux-tools/video-upscale-v1", "input_video": MOVING}, 6.0),
        ({"model": "flux-tools/video-upscale-v1", "input_video": MOVING, "creativity": 0}, 5.0),
    ],
)
def test_a_video_reports_its_cost_with_the_result(
    client: Client, parameters: dict[str, Any], cost: float
) -> None:
    body = client.submit(**parameters)
    assert (body["cost"], body["input_mp"], body["output_mp"]) == (None, None, None)
    assert client.credits() == 1000 - cost
    assert client.wait(body)["cost"] == cost
    assert client.credits() == 1000 - cost


@pytest.mark.parametrize(
    ("model", "field", "held", "cost"),
    [
        ("flux-tools/video-upscale-v1", "input_video", 0.0, 6.0),
        ("flux-tools/video-edit-v1", "video", 45.0, 6.0),
    ],
)
def test_the_cost_of_a_video_behind_a_url_is_that_of_the_fetched_video(
    client: Client, shelf: InputServer, model: str, field: str, held: float, cost: float
) -> None:
    shelf.gate.clear()
    task = client.submit(model=model, **{field: shelf.put(encode_video(PHOTO, 2.0))})
    assert client.credits() == 1000 - held
    shelf.gate.set()
    assert client.wait(task)["cost"] == cost
    assert client.credits() == 1000 - cost
    assert client.server.stats()["credits_spent"] == cost


# Same request, same bytes


def test_equal_videos_have_equal_bytes(client: Client) -> None:
    request = {"prompt": "x", "mode": "t2v", "duration": 5}
    picture = compose_picture(MODELS["flux-3-video"], request, {}, 7)
    first = render(picture)
    render.cache_clear()
    assert render(picture) == first
    assert render(compose_picture(MODELS["flux-3-video"], request, {}, 8)) != first
