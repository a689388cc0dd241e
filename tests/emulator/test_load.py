"""Load tests: padded JPEG files, and the timeline of the tasks."""

from __future__ import annotations

import io
import time

import requests
from PIL import Image

from airflow_provider_flux.emulator.drawing.padded_jpeg import encode_padded_jpeg
from airflow_provider_flux.emulator.drawing.picture import Picture
from tests.emulator.conftest import Client, Start

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


def test_the_timeline_has_each_task_in_order(start: Start) -> None:
    client = start(latency=1.5, credits=1000)
    begun = time.time()
    tasks = [
        client.submit(f"fox {n} {fault}")
        for n, fault in enumerate(["", "[[fault:error]]", "[[fault:stuck]]"])
    ]
    client.get(tasks[0]["polling_url"])
    early = client.server.timeline()["tasks"]
    assert [task["outcome"] for task in early] == [None] * 3
    client.wait(tasks[1])
    polls = client.server.stats()["polls"]
    made = requests.get(f"{client.server.url}/_emulator/timeline", timeout=5).json()["tasks"]
    assert [task["outcome"] for task in made] == ["Ready", "Error", None]
    assert [task["prompt"] for task in made] == [
        "fox 0 ",
        "fox 1 [[fault:error]]",
        "fox 2 [[fault:stuck]]",
    ]
    assert [task["faults"] for task in made] == [[], ["error"], ["stuck"]]
    assert {task["model"] for task in made} == {"flux-pro-1.1"}
    assert [task["polls"] for task in made] == [1, polls - 1, 0]
    assert made[2]["ends_at"] is None
    assert all(abs(task["ends_at"] - task["submitted_at"] - 1.5) < 1e-6 for task in made[:2])
    assert (
        begun
        <= made[0]["submitted_at"]
        <= made[1]["submitted_at"]
        <= made[2]["submitted_at"]
        <= time.time()
    )


def test_the_timeline_counts_refused_submits_by_status(start: Start) -> None:
    client = start(max_active=1, latency=30, credits=1000)
    client.submit()
    for body in (
        {"prompt": "x"},
        {"prompt": "[[fault:submit-503]]"},
        {"prompt": "x"},
        {"prompt": 1},
    ):
        client.post(json=body)
    timeline = client.server.timeline()
    assert timeline["refused"] == {"422": 1, "429": 2, "503": 1}
    assert client.server.stats()["refused"] == 4
    assert len(timeline["tasks"]) == 1
    client.server.reset()
    assert client.server.timeline() == {"tasks": [], "refused": {}}


def test_a_task_without_faults_has_none_in_the_timeline(client: Client) -> None:
    client.image()
    assert [task["faults"] for task in client.server.timeline()["tasks"]] == [[]]
