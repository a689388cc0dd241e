"""Inputs on their way to the service, through both clients: what is sent is the file, in base64."""

from __future__ import annotations

import base64
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.conftest import KEY
from tests.support.sample_media import MIB, encode_base64, make_image, make_large_image, make_video
from tests.support.scripted_host import Exchange, ScriptedHost, status
from tests.support.submit_by_client import Submit, both_clients, submit_by_hook

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@both_clients
@pytest.mark.parametrize("source", ["path", "uri", "s3", "base64", "data", "lines", "url"])
def test_an_input_from_anywhere_is_sent_in_base64(
    service: ScriptedHost, aws_lab: str, tmp_path: Path, source: str, submit: Submit
) -> None:
    data = make_large_image(300_001)
    path = tmp_path / "a b.jpeg"
    path.write_bytes(data)
    ObjectStoragePath(f"s3://{aws_lab}@sent/").mkdir(exist_ok=True)
    ObjectStoragePath(f"s3://{aws_lab}@sent/a.jpeg").write_bytes(data)
    value = {
        "path": str(path),
        "uri": path.as_uri(),
        "s3": f"s3://{aws_lab}@sent/a.jpeg",
        "base64": encode_base64(data),
        "data": f"data:image/jpeg;base64,{encode_base64(data)}",
        "lines": base64.encodebytes(data).decode(),
        "url": service.put("/a.jpeg", data),
    }[source]
    assert (
        submit("flux-2-pro", {"prompt": "ä fox", "input_image": value, "seed": 7}).request_id
        == "r-1"
    )
    asked = service.received[-1]
    assert asked.json == {"prompt": "ä fox", "input_image": encode_base64(data), "seed": 7}
    assert (
        asked.body
        == json.dumps({"prompt": "ä fox", "input_image": encode_base64(data), "seed": 7}).encode()
    )
    assert (asked.method, asked.path) == ("POST", "/v1/flux-2-pro")
    assert int(asked.headers["content-length"]) == len(asked.body)
    assert "transfer-encoding" not in asked.headers
    assert (asked.headers["content-type"], asked.headers["x-key"]) == ("application/json", KEY)


@both_clients
def test_lists_pairs_and_urls_keep_their_places(
    service: ScriptedHost, tmp_path: Path, submit: Submit
) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for n, path in enumerate(paths):
        path.write_bytes(make_image(shade=n))
    frames = [[0, str(paths[0])], [1.5, "https://a.example/b.png"], [3, str(paths[2])]]
    submit("flux-3-video", {"mode": "i2v", "prompt": "x", "keyframes": frames})
    sent = [
        [0, encode_base64(make_image(shade=0))],
        [1.5, "https://a.example/b.png"],
        [3, encode_base64(make_image(shade=2))],
    ]
    assert service.received[-1].json["keyframes"] == sent


#: Model, parameters, inputs, and the cost that the service reports after it has read them.
SEEN: list[tuple[str, dict[str, Any], dict[str, bytes], float | None]] = [
    (
        "flux-2-pro",
        {"width": 1024, "height": 1024},
        {"input_image": make_image(size=(2048, 1024))},
        6,
    ),
    (
        "flux-2-klein-4b",
        {"width": 1024, "height": 1024},
        {"input_image": make_image("jpeg", (1024, 1025))},
        1.6,
    ),
    ("flux-tools/erase-v1", {}, {"image": make_image(), "mask": make_image(shade=1)}, 3),
    ("flux-tools/vto-v2", {}, {"person": make_image("webp"), "garment": make_image()}, 4.75),
    ("flux-pro-1.1", {}, {"image_prompt": make_image()}, None),
    ("flux-pro-1.0-fill", {}, {"image": make_image(), "mask": make_image("png", shade=1)}, None),
    ("flux-3-video", {"mode": "v2v", "duration": 5}, {"start_video": make_video()}, None),
]


@both_clients
@pytest.mark.parametrize(("model", "parameters", "inputs", "cost"), SEEN)
def test_the_service_sees_what_was_sent(
    emulator: EmulatorServer,
    tmp_path: Path,
    model: str,
    parameters: dict[str, Any],
    inputs: dict[str, bytes],
    cost: float | None,
    submit: Submit,
) -> None:
    for name, data in inputs.items():
        (tmp_path / name).write_bytes(data)
    prompt = {} if "erase" in model else {"prompt": "x"}
    request = {**prompt, **parameters, **{name: str(tmp_path / name) for name in inputs}}
    assert submit(model, request).cost == cost
    assert emulator.stats()["submits"] == 1


@both_clients
def test_an_input_that_cannot_be_read_fails_before_anything_is_sent(
    service: ScriptedHost, submit: Submit
) -> None:
    service.answers["/a.png"] = status(503)
    with pytest.raises(errors.FluxInputError) as caught:
        submit("flux-2-pro", {"prompt": "x", "input_image": f"{service.url}/a.png?sig=abc"})
    assert (
        str(caught.value)
        == f"input_image ({service.url}/a.png) could not be downloaded (HTTP 503)."
    )
    assert not caught.value.is_permanent
    assert [asked.method for asked in service.received] == ["GET"]


@both_clients
def test_an_input_that_breaks_a_limit_fails_before_anything_is_sent(
    service: ScriptedHost, tmp_path: Path, submit: Submit
) -> None:
    (tmp_path / "a.png").write_bytes(make_image(size=(64, 64)))
    with pytest.raises(errors.FluxRequestError, match="at least 256x256"):
        submit("flux-pro-1.1", {"image_prompt": str(tmp_path / "a.png")})
    assert service.received == []


def test_a_warning_is_logged_and_the_request_is_still_sent(service: ScriptedHost) -> None:
    hook = FluxHook()
    lines: list[str] = []
    hook.log.warning = lambda text, *values: lines.append(text % values)  # type: ignore[method-assign]
    hook.submit(hook.build_request("flux-2-pro", {"prompt": "x", "width": 1000, "height": 1024}))
    assert lines == [
        "flux-2-pro: width=1000 is not a multiple of 16: the service may round it or refuse it"
    ]
    assert len(service.received) == 1


def test_a_large_input_is_never_in_memory_as_a_whole(service: ScriptedHost, tmp_path: Path) -> None:
    def forget(exchange: Exchange) -> None:
        left = int(exchange.headers["Content-Length"])
        while left:
            left -= len(exchange.rfile.read(min(left, 64 * 1024)))
        exchange.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"id": "r"}')

    service.answers["*"] = forget
    (tmp_path / "a.jpeg").write_bytes(make_large_image(20 * MIB))
    submit_by_hook("flux-2-pro", {"prompt": "x"})  # what is imported on the way does not count
    tracemalloc.start()
    try:
        submit_by_hook("flux-2-pro", {"prompt": "x", "input_image": str(tmp_path / "a.jpeg")})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * MIB
