"""Inputs as base64, data URLs and URLs: those that are refused, and those that fail the task."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import requests

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator import inputs
from tests.emulator.conftest import RUNNING, Client
from tests.support.emulator_media import (
    BLUE,
    RED,
    InputServer,
    colour_distance,
    decode_image,
    encode_base64,
    encode_image,
    encode_video,
    mean_colour,
    plain_image,
    quarters_image,
    wait_until,
)

CORRUPT = {"error": "Invalid or corrupted image input"}
PNG = encode_base64(plain_image())
PHOTO = quarters_image((640, 480))


def _assert_input_error(client: Client, task: dict[str, Any], details: Any = CORRUPT) -> None:
    body = client.wait(task)
    assert (body["status"], body["details"], body["result"]) == ("Error", details, None)
    assert client.get(task["polling_url"]).status_code == 422
    assert client.credits() == 1000


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_base64_and_data_urls_of_every_format_are_accepted(
    client: Client, image_format: str
) -> None:
    text = encode_base64(encode_image(plain_image(BLUE), image_format))
    for value in (text, f"data:image/{image_format.lower()};base64,{text}"):
        image = decode_image(client.image(model="flux-kontext-pro", input_image=value, seed=1))
        assert colour_distance(mean_colour(image, (0, 0, 400, 300)), BLUE) < 60


def test_an_input_gives_the_same_image_as_base64_data_url_or_url(
    client: Client, shelf: InputServer
) -> None:
    text = encode_base64(encode_image(PHOTO))
    ways = [text, f"data:image/png;base64,{text}", shelf.put(PHOTO), f"{shelf.url}/redirect/input"]
    images = {client.image(model="flux-2-pro", input_image=way, seed=1) for way in ways}
    assert len(images) == 1
    other = encode_image(PHOTO, "PNG", compress_level=9)
    assert client.image(model="flux-2-pro", input_image=encode_base64(other), seed=1) not in images
    assert shelf.received == ["input", "redirect/input", "input"]


@pytest.mark.parametrize(
    ("model", "parameters", "sentence"),
    [
        (
            "flux-pro-1.1",
            {"image_prompt": encode_base64(plain_image(size=(300, 200)))},
            "Image_prompt dimensions must be at least 256x256 pixels",
        ),
        (
            "flux-pro-1.0-fill",
            {"image": PNG, "mask": encode_base64(plain_image(size=(9, 9)))},
            "Mask must have the size of image",
        ),
        (
            "flux-tools/erase-v1",
            {"image": PNG, "mask": encode_base64(PHOTO)},
            "Mask must have the size of image",
        ),
        (
            "flux-2-pro",
            {"prompt": "x", "input_image_2": encode_base64(plain_image(size=(5000, 4001)))},
            "Input_image_2 must not have more than 20 megapixels",
        ),
        (
            "flux-tools/video-edit-v1",
            {
                "prompt": "x",
                "video": encode_base64(encode_video(plain_image(size=(200, 100)), 0.2)),
            },
            "Video dimensions must be at least 160x160 pixels",
        ),
        (
            "flux-tools/video-edit-v1",
            {"prompt": "x", "video": encode_base64(encode_video(plain_image(), 16, rate=2))},
            "Video must not be longer than 15 seconds",
        ),
    ],
)
def test_an_input_beyond_the_limits_of_its_model_is_a_value_error_of_the_body(
    client: Client, model: str, parameters: dict[str, Any], sentence: str
) -> None:
    answer = client.post(model, json=parameters)
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [
            {
                "type": "value_error",
                "loc": ["body"],
                "msg": f"Value error, {sentence}",
                "input": parameters,
                "ctx": {"error": {}},
            }
        ]
    }
    assert (client.server.stats()["submits"], client.server.stats()["refused"]) == (0, 1)


def test_an_image_outside_of_the_canvas_is_refused_unless_auto_crop_is_set(client: Client) -> None:
    body = {"input_image": PNG, "width": 320, "height": 240, "reference_offset_x": 1}
    answer = client.post("flux-tools/outpainting-v1", json=body)
    assert answer.status_code == 422
    assert "is not inside the canvas" in answer.json()["detail"][0]["msg"]
    assert client.image(None, model="flux-tools/outpainting-v1", **body, auto_crop=True)


def test_a_file_larger_than_the_limit_is_refused(client: Client) -> None:
    padded = encode_image(plain_image()) + bytes(20 * 1024 * 1024)
    answer = client.post("flux-2-pro", json={"prompt": "x", "input_image": encode_base64(padded)})
    assert answer.status_code == 422
    assert (
        answer.json()["detail"][0]["msg"]
        == "Value error, Input_image must not be larger than 20 MB"
    )


@pytest.mark.parametrize(
    "text",
    [
        "not base64 at all",
        "ünlesbar",
        "aGVsbG8gd29ybGQ=",
        "data:image/png,hello",
        encode_base64(encode_image(PHOTO, "JPEG", quality=95)[:-3000]),
        encode_base64(encode_image(PHOTO)[:200]),
        encode_base64(b"%PDF-1.4 not an image"),
        "ftp://127.0.0.1/x.png",
        "file:///etc/hostname",
    ],
)
def test_an_input_that_is_no_image_ends_the_task_with_an_error(client: Client, text: str) -> None:
    _assert_input_error(
        client, client.submit(model="flux-2-pro", input_image=PNG, input_image_2=text)
    )


def test_a_video_is_no_image_input_and_an_image_is_no_video_input(client: Client) -> None:
    moving = encode_base64(encode_video(plain_image(), 0.2))
    _assert_input_error(client, client.submit(model="flux-2-pro", input_image=moving))
    _assert_input_error(client, client.submit(model="flux-tools/video-edit-v1", video=PNG))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("flux-tools/deblur-v1", {"image": ""}),
        ("flux-tools/erase-v1", {"image": PNG, "mask": ""}),
        ("flux-pro-1.0-fill", {"image": ""}),
        ("flux-3-video", {"mode": "i2v", "keyframes": [[1, ""]]}),
        ("flux-3-video", {"mode": "v2v", "start_video": ""}),
    ],
)
def test_an_empty_required_input_ends_the_task_with_an_error(
    client: Client, model: str, parameters: dict[str, Any]
) -> None:
    prompt = "x" if model == "flux-3-video" else None
    _assert_input_error(client, client.submit(prompt, model, **parameters))


def test_an_empty_optional_input_is_ignored(client: Client) -> None:
    assert client.wait(client.submit(model="flux-2-pro", input_image=""))["status"] == "Ready"


BASE64_ONLY = [
    (model.name, field.name)
    for model in MODELS.values()
    for field in model.media
    if not field.takes_url
]


@pytest.mark.parametrize(("model", "field"), BASE64_ONLY)
def test_a_url_for_a_base64_field_ends_the_task_with_an_error(
    client: Client, shelf: InputServer, model: str, field: str
) -> None:
    required = {"image": PNG} if "image" in MODELS[model].fields else {}
    finetune = {"finetune_id": "demo-style"} if "finetune_id" in MODELS[model].fields else {}
    _assert_input_error(
        client, client.submit(model=model, **{**required, **finetune, field: shelf.put(PHOTO)})
    )
    assert shelf.received == []


def test_a_url_is_fetched_after_the_submit_is_answered_and_before_the_result(
    client: Client, shelf: InputServer
) -> None:
    shelf.gate.clear()
    task = client.submit(model="flux-2-pro", input_image=shelf.put(PHOTO), seed=1)
    assert (task["cost"], task["input_mp"], task["output_mp"]) == (4.5, 1.0, 1.0)
    wait_until(lambda: shelf.received)
    assert client.get(task["polling_url"]).json()["status"] == "Pending"
    assert client.server.stats()["active"] == 1
    shelf.gate.set()
    body = client.wait(task)
    assert body["cost"] == 4.5
    assert body["result"]["duration"] >= 0.03
    image = decode_image(client.get(body["result"]["sample"]).content)
    assert image.size == PHOTO.size
    assert colour_distance(mean_colour(image, (0, 0, 300, 200)), RED) < 60


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"<html>log in</html>",
        encode_image(plain_image(size=(6000, 4200))),
        bytes(20 * 1024 * 1024 + 1),
    ],
)
def test_a_url_without_a_usable_image_ends_the_task_with_an_error(
    client: Client, shelf: InputServer, content: bytes | None
) -> None:
    url = f"{shelf.url}/nothing" if content is None else shelf.put(content)
    _assert_input_error(
        client, client.submit(model="flux-2-pro", input_image=PNG, input_image_2=url)
    )


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x.png", "http://", "https://:x/", "http://no.such.host.invalid/"]
)
def test_a_url_that_cannot_be_reached_ends_the_task_with_an_error(client: Client, url: str) -> None:
    _assert_input_error(client, client.submit(model="flux-2-pro", input_image=url))


def test_all_urls_of_a_request_are_fetched_concurrently(client: Client, shelf: InputServer) -> None:
    shelf.gate.clear()
    urls = [shelf.put(plain_image(), f"{number}") for number in range(8)]
    names = ["input_image", *(f"input_image_{number}" for number in range(2, 9))]
    task = client.submit(model="flux-2-pro", **dict(zip(names, urls, strict=True)))
    wait_until(lambda: len(shelf.received) == 8)
    shelf.gate.set()
    assert client.wait(task)["status"] == "Ready"


def test_a_result_can_be_the_input_of_the_next_request(client: Client) -> None:
    sample = client.sample(width=512, height=256)
    assert decode_image(client.image(model="flux-2-pro", input_image=sample)).size == (512, 256)


def test_a_webhook_waits_for_the_inputs(client: Client, shelf: InputServer) -> None:
    shelf.gate.clear()
    task = client.submit(
        model="flux-2-pro", input_image=shelf.put(PHOTO), webhook_url=f"{shelf.url}/hook"
    )
    wait_until(lambda: shelf.received)
    shelf.gate.set()
    polling_url = f"{client.server.url}/v1/get_result?id={task['id']}"
    assert client.wait({"polling_url": polling_url})["status"] == "Ready"
    wait_until(lambda: client.server.stats()["webhooks"] == 1)
    assert shelf.received == ["input", "POST hook"]


def test_a_fault_beats_the_error_of_an_input(client: Client, shelf: InputServer) -> None:
    task = client.submit("[[fault:moderated]]", "flux-2-pro", input_image=f"{shelf.url}/nothing")
    assert client.wait(task)["status"] == "Content Moderated"


def test_a_reset_cancels_the_fetching_of_inputs(client: Client, shelf: InputServer) -> None:
    shelf.gate.clear()
    client.submit(model="flux-2-pro", input_image=shelf.put(PHOTO))
    wait_until(lambda: shelf.received)
    client.server.reset()
    shelf.gate.set()
    assert client.server.stats()["active"] == 0


def test_other_requests_are_answered_while_an_input_is_decoded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_decoding, may_finish = threading.Event(), threading.Event()

    def read(*_: Any) -> inputs.Inputs:
        is_decoding.set()
        assert may_finish.wait(10)
        return inputs.NO_INPUTS

    monkeypatch.setattr(inputs, "_read_all", read)
    answers: list[requests.Response] = []
    body = {"prompt": "x", "input_image": PNG}
    submit = threading.Thread(target=lambda: answers.append(client.post("flux-2-pro", json=body)))
    submit.start()
    assert is_decoding.wait(5)
    assert client.credits() == 1000
    may_finish.set()
    submit.join(5)
    assert answers[0].status_code == 200


def test_equal_inputs_are_kept_once(client: Client) -> None:
    spec = MODELS["flux-2-pro"].media[0]
    data = encode_image(PHOTO)
    assert inputs.read_file(data, spec, "a") is inputs.read_file(bytes(bytearray(data)), spec, "b")


def test_flux_3_takes_one_image_or_a_list(client: Client) -> None:
    large = encode_base64(plain_image(size=(256, 256)))
    for images in (large, [large], [large, encode_base64(PHOTO)], [large] * 10):
        task = client.submit(model="flux-3-image", images=images)
        assert task["id"]
        assert client.get(task["polling_url"]).json()["status"] in {*RUNNING, "Ready"}
        assert client.wait(task)["status"] == "Ready"


@pytest.mark.parametrize("model", ["flux-3-image", "flux-3-image-klein"])
@pytest.mark.parametrize(
    ("size", "status", "reason"),
    [
        ((4160, 4096), 400, "must not have more than 16.8 megapixels"),
        ((640, 255), 422, "dimensions must be at least 256x256 pixels"),
    ],
)
def test_flux_3_refuses_a_reference_of_a_wrong_size_before_any_charge(
    client: Client, model: str, size: tuple[int, int], status: int, reason: str
) -> None:
    images = [encode_base64(plain_image(size=size))]
    answer = client.post(model, json={"prompt": "x", "images": images})
    assert answer.status_code == status
    assert reason in answer.text
    assert client.credits() == 1000


@pytest.mark.parametrize("body", [{"prompt": ""}, {"prompt": "x", "width": 1024}])
def test_flux_3_refuses_an_empty_prompt_and_an_unknown_field(
    client: Client, body: dict[str, Any]
) -> None:
    for model in ("flux-3-image", "flux-3-image-klein"):
        assert client.post(model, json=body).status_code == 422
